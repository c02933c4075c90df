//go:build !windows

package main

// sudo is before a command that only an administrator may run.
const sudo = "sudo "
