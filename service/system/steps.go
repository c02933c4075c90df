package system

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Run runs a program, named by its absolute path, and returns what it printed.
// One that failed is a *Refusal.
type Run func(ctx context.Context, program string, args ...string) (string, error)

// Refusal is a program that ended with an exit code other than 0.
type Refusal struct { //nolint:errname // it is what the program did
	Command string
	Code    int
	Said    string
}

// Error says what the program said, or else its exit code.
func (r *Refusal) Error() string {
	if r.Said == "" {
		return fmt.Sprintf("%s: exit code %d", r.Command, r.Code)
	}
	return fmt.Sprintf("%s: exit code %d: %s", r.Command, r.Code, r.Said)
}

// refusedWith tells the exit code of a program that did run.
func refusedWith(err error, codes ...int) bool {
	var refusal *Refusal
	if !errors.As(err, &refusal) {
		return false
	}
	for _, code := range codes {
		if refusal.Code == code {
			return true
		}
	}
	return false
}

// programLimit bounds one program: systemd gives the daemon 60 s to start and
// 15 s to stop (TimeoutStartSec=, TimeoutStopSec= of our unit), one after the
// other at a restart.
const programLimit = 80 * time.Second

// runProgram is Run for this machine.
func runProgram(ctx context.Context, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, programLimit)
	defer cancel()
	command := exec.CommandContext(ctx, program, args...)
	command.Env = append(os.Environ(), "LC_ALL=C", "SYSTEMD_PAGER=")
	command.WaitDelay = time.Second
	var output, complaint strings.Builder
	command.Stdout, command.Stderr = &output, &complaint
	err := command.Run()
	called := strings.Join(append([]string{program}, args...), " ")
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return output.String(), fmt.Errorf("%s: %w", called, context.Cause(ctx))
	case errors.As(err, &exit):
		said := strings.Join(strings.Fields(complaint.String()+" "+output.String()), " ")
		return output.String(), &Refusal{Command: called, Code: exit.ExitCode(), Said: said}
	case err != nil:
		return "", fmt.Errorf("%s: %w", called, err)
	}
	return output.String(), nil
}

// within bounds a call that has no limit of its own, as those of the library
// have not that run programs. What does not end is left behind: the command
// that waits for it ends.
func within(ctx context.Context, act func() error) func() error {
	return func() error {
		ctx, cancel := context.WithTimeout(ctx, programLimit)
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- act() }()
		select {
		case err := <-done:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// steps does what changes this machine and tells of it; if dry, it only tells.
type steps struct {
	dry bool
	say func(line string)
	run Run
}

// do takes one step, called by what it does: "write /etc/x".
func (s *steps) do(what string, act func() error) error {
	if s.dry {
		s.say("would " + what)
		return nil
	}
	if err := act(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	s.say(what)
	return nil
}

// note says what is so already, or what is left to others.
func (s *steps) note(format string, args ...any) { s.say(fmt.Sprintf(format, args...)) }

// call runs a program that changes something.
func (s *steps) call(ctx context.Context, program string, args ...string) error {
	what := strings.Join(append([]string{"run", program}, args...), " ")
	if s.dry {
		s.say("would " + what)
		return nil
	}
	if _, err := s.run(ctx, program, args...); err != nil {
		return err // it names the program
	}
	s.say(what)
	return nil
}

// write makes the file have that content, readable for everybody; it says
// whether that took anything.
func (s *steps) write(path string, content []byte) (bool, error) {
	there, err := os.ReadFile(path)
	if err == nil && string(there) == string(content) {
		if info, err := os.Lstat(path); err == nil && info.Mode() == fileMode {
			return false, nil
		}
	}
	return true, s.do("write "+path, func() error { return replace(path, content) })
}

// fileMode is what systemd and launchd take for a definition.
const fileMode = fs.FileMode(0o644)

// replace puts the file there at once, never half of it.
func replace(path string, content []byte) (err error) {
	file, err := os.CreateTemp(filepath.Dir(path), ".causewayd-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(file.Name())
		}
	}()
	_, err = file.Write(content)
	if err = errors.Join(err, file.Chmod(fileMode), file.Sync(), file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}

// remove takes a file away, if there is one.
func (s *steps) remove(path string) (bool, error) {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return true, s.do("remove "+path, func() error { return os.Remove(path) })
}
