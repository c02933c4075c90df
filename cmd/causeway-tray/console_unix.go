//go:build !windows

package main

const cliName = "causeway"

// attachConsole has nothing to do: a program has the terminal it was started in.
func attachConsole() {}
