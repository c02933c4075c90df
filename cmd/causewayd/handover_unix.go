//go:build unix

package main

import (
	"os"
	"syscall"
)

// handoverSignals end the process for the next one to go on; systemd sends
// SIGUSR2 for a restart (RestartKillSignal= of our unit).
var handoverSignals = []os.Signal{syscall.SIGUSR2}
