//go:build unix

package cli

import (
	"os"
	"os/signal"
	"syscall"
)

// interpret has the terminal obey control sequences, as they all do here.
func interpret(*os.File) (undo func(), err error) { return func() {}, nil }

func (t realTTY) resized() (<-chan struct{}, func()) {
	signals, changes, done := make(chan os.Signal, 1), make(chan struct{}, 1), make(chan struct{})
	signal.Notify(signals, syscall.SIGWINCH)
	go func() {
		for {
			select {
			case <-done:
				return
			case <-signals:
			}
			select {
			case changes <- struct{}{}:
			default:
			}
		}
	}()
	return changes, func() {
		signal.Stop(signals)
		close(done)
	}
}
