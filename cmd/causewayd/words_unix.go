//go:build !windows

package main

import "github.com/spf13/cobra"

// sudo is before a command that only an administrator may run.
const sudo = "sudo "

func inWordsOfThisSystem(*cobra.Command) {}
