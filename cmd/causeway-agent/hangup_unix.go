//go:build unix

package main

import (
	"os"
	"os/signal"
	"syscall"
)

// hearHangUps is for an agent that nohup has started: what it starts would
// ignore hang-ups as it does, and outlive its terminals. A signal that is heard is
// given to programs as they expect it; the agent itself lets it pass.
func hearHangUps() {
	if signal.Ignored(syscall.SIGHUP) {
		signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	}
}
