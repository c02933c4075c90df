package cli

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/windows"
)

// resizeEvery is how often the size of a console is looked at, which sends no
// signal.
const resizeEvery = 250 * time.Millisecond

// interpret has the console obey control sequences.
func interpret(out *os.File) (undo func(), err error) {
	handle := windows.Handle(out.Fd())
	var before uint32
	if err := windows.GetConsoleMode(handle, &before); err != nil {
		return nil, fmt.Errorf("ask for the console's mode: %w", err)
	}
	mode := before | windows.ENABLE_PROCESSED_OUTPUT | windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING
	if err := windows.SetConsoleMode(handle, mode); err != nil {
		return nil, fmt.Errorf("set the console's mode: %w", err)
	}
	return func() { _ = windows.SetConsoleMode(handle, before) }, nil
}

func (t realTTY) resized() (<-chan struct{}, func()) {
	changes, done := make(chan struct{}), make(chan struct{})
	go func() {
		ticker := time.NewTicker(resizeEvery)
		defer ticker.Stop()
		width, height := t.size()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
			}
			if w, h := t.size(); w != width || h != height {
				width, height = w, h
				select {
				case changes <- struct{}{}:
				case <-done:
					return
				}
			}
		}
	}()
	return changes, func() { close(done) }
}
