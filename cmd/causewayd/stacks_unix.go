//go:build unix

package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"
)

// maxStacks bounds the dump, in bytes.
const maxStacks = 4 << 20

// dumpStacks writes the stacks of all goroutines to w at each SIGUSR1, which
// the kernel lets only root and the daemon's own user send: what a daemon that
// seems to hang is doing can be seen without ending it, as SIGQUIT does.
func dumpStacks(w io.Writer) (stop func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range signals {
			stacks := make([]byte, maxStacks)
			stacks = stacks[:runtime.Stack(stacks, true)]
			fmt.Fprintf(w, "causewayd: the stacks of %d goroutines:\n%s\ncausewayd: end of the stacks\n", runtime.NumGoroutine(), stacks)
		}
	}()
	return func() {
		signal.Stop(signals)
		close(signals)
		<-done
	}
}
