package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// stopLimit is how long a program may take to end after SIGTERM. It is past the
// 12 s after which a daemon that hangs dumps its stacks and ends itself.
const stopLimit = 25 * time.Second

// Program is a program that runs until it is stopped; what it prints is kept
// in a file.
type Program struct {
	// LogFile holds both of its outputs.
	LogFile string

	name string
	cmd  *exec.Cmd
	from int64 // where its output begins: a file outlives its program's restart
	done chan struct{}
	err  error
}

// start runs a prepared command in the background.
func start(dir, name string, cmd *exec.Cmd) (*Program, error) {
	file, err := os.OpenFile(filepath.Join(dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	defer file.Close()
	before, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	cmd.Stdout, cmd.Stderr = file, file
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	program := &Program{LogFile: file.Name(), name: name, cmd: cmd, from: before.Size(), done: make(chan struct{})}
	go func() {
		program.err = cmd.Wait()
		close(program.done)
	}()
	return program, nil
}

// PID of the program itself: nothing stands between it and us.
func (p *Program) PID() int { return p.cmd.Process.Pid }

// Log is what the program has printed so far.
func (p *Program) Log() string {
	text, err := os.ReadFile(p.LogFile)
	if err != nil {
		return err.Error()
	}
	return string(text[min(p.from, int64(len(text))):])
}

// Done is closed when the program has ended.
func (p *Program) Done() <-chan struct{} { return p.done }

// Stop asks the program to end and waits for it; one that takes too long, or
// ends with a failure, is an error. A program that has ended is none.
func (p *Program) Stop() error {
	if p == nil {
		return nil
	}
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(stopLimit):
		p.cmd.Process.Signal(syscall.SIGQUIT)
		p.Kill()
		return fmt.Errorf("stop %s: still running %v after SIGTERM:\n%s", p.name, stopLimit, p.Log())
	}
	var exit *exec.ExitError
	if errors.As(p.err, &exit) && exit.ExitCode() > 0 {
		return fmt.Errorf("stop %s: %w:\n%s", p.name, p.err, p.Log())
	}
	return nil
}

// Kill ends the program at once (kill -9) and waits for it.
func (p *Program) Kill() {
	p.cmd.Process.Kill()
	<-p.done
}

// WaitFor waits until the program has printed the text.
func (p *Program) WaitFor(ctx context.Context, text string) error {
	return Eventually(ctx, func() error {
		if log := p.Log(); !strings.Contains(log, text) {
			select {
			case <-p.done:
				return &finalError{fmt.Errorf("wait for %q of %s: it ended: %w:\n%s", text, p.name, p.err, log)}
			default:
				return fmt.Errorf("wait for %q of %s:\n%s", text, p.name, log)
			}
		}
		return nil
	})
}

// finalError ends a wait: it will not get better.
type finalError struct{ error }

func (e *finalError) Unwrap() error { return e.error }

// Final makes an error one that ends Eventually.
func Final(err error) error { return &finalError{err} }

// Eventually asks again and again until there is no error or the context
// ends; the error is the last one then.
func Eventually(ctx context.Context, try func() error) error {
	for {
		err := try()
		var final *finalError
		if err == nil || errors.As(err, &final) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(50 * time.Millisecond):
		}
	}
}
