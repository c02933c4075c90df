// Package config is the one schema of causewayd's settings. Each setting is
// described once, in Schema; flags, environment variables, the settings file
// and the printed documentation all come from there.
//
// A setting's value is the first of: its flag, its environment variable, its
// key in the file, its default. Nothing is guessed: a value or a key that is
// not understood stops the program with the place where it stands.
package config
