// Package cli is the causeway command: its tree, its output and its exit codes.
//
// The rules of output: what was asked for goes to standard output, everything
// else (progress, prompts, errors) to standard error. Errors are one line
// "causeway: verb object: cause" and, where there is one, a second with the
// remedy. Colour and redrawing are for terminals only. With --json, standard
// output is JSON as the files in schema/ describe it, and nothing else.
package cli
