// Package unit makes the agent a service of the operating system's manager:
// systemd, launchd or Windows' own. What it would do is planned first, as files
// and commands that tests and a dry run can read, and then done.
package unit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Token is the agent's secret. It never prints.
type Token string

func (Token) String() string { return "[redacted]" }

// LogValue keeps the token out of logs.
func (Token) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// Options say what is to be installed, or taken away.
type Options struct {
	// Program is causeway-agent's absolute path.
	Program string
	// URL of the deployment, and the agent's token: only to install.
	URL   string
	Token Token
	// Account is whose workspace it is, for a unit of the machine; "" makes a
	// unit of the user who runs this, which ends when it logs out unless it may linger.
	Account string
	// DryRun changes nothing.
	DryRun bool
	// Say takes a line for each thing that is done.
	Say func(line string)
}

// step is one change of the machine: a file that is written or removed, a
// directory that is made for it, or a command.
type step struct {
	write, remove string
	content       string
	mode          fs.FileMode
	owner         string // of the file, a user's name; "" for who runs this
	run           []string
	// optional says that its failure is told, with the remedy, and no more.
	optional bool
	remedy   string
}

func (s step) String() string {
	switch {
	case s.write != "":
		return "write " + s.write
	case s.remove != "":
		return "remove " + s.remove
	}
	return "run " + strings.Join(s.run, " ")
}

// runLimit bounds one command: systemd waits 90 s for a unit to stop.
const runLimit = 2 * time.Minute

// apply does the steps in order, until one fails.
func apply(ctx context.Context, o Options, steps []step) error {
	for _, each := range steps {
		if o.DryRun {
			o.Say("would " + each.String())
			continue
		}
		err := each.apply(ctx)
		switch {
		case err != nil && each.optional:
			o.Say(fmt.Sprintf("could not %s: %v; %s", each, err, each.remedy))
		case err != nil:
			return fmt.Errorf("%s: %w", each, err)
		default:
			o.Say(each.String())
		}
	}
	return nil
}

func (s step) apply(ctx context.Context) error {
	switch {
	case s.write != "":
		return s.store()
	case s.remove != "":
		if err := os.Remove(s.remove); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, runLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.run[0], s.run[1:]...)
	cmd.WaitDelay = time.Second
	output, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, strings.Join(strings.Fields(string(output)), " "))
	}
	return nil
}

// store writes the file beside its place and moves it there: a token is never
// readable by others, and a unit never half written.
func (s step) store() error {
	directory := filepath.Dir(s.write)
	if err := os.MkdirAll(directory, s.mode|(s.mode&0o444)>>2|0o700); err != nil {
		return err
	}
	file, err := os.CreateTemp(directory, ".causeway-agent-*")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) //nolint:errcheck // after the move there is nothing left
	_, err = file.WriteString(s.content)
	err = errors.Join(err, file.Chmod(s.mode))
	if err == nil && s.owner != "" {
		err = giveTo(file, s.owner)
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), s.write)
}

// check finds mistakes before anything is changed.
func (o Options) check(install bool) error {
	switch {
	case !filepath.IsAbs(o.Program):
		return fmt.Errorf("program %q: want an absolute path", o.Program)
	case strings.ContainsAny(o.Program, unheld):
		return fmt.Errorf("program %q: a unit cannot hold this path", o.Program)
	case strings.ContainsAny(o.Account, "/\\ \n%$") || strings.HasPrefix(o.Account, "-"):
		return fmt.Errorf("account %q: want the name of a user", o.Account)
	case install && o.URL == "":
		return errors.New("the URL of the deployment is missing")
	case strings.ContainsAny(o.URL, " \n\"'\\$"):
		return fmt.Errorf("URL %q: a unit cannot hold it", o.URL)
	case install && o.Token == "":
		return errors.New("the agent's token is missing")
	}
	return nil
}
