package system

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/causewayhq/causeway/packaging/darwin"
)

const (
	launchctl = "/bin/launchctl"
	domain    = "system"
	job       = domain + "/" + darwin.Label
)

// Exit codes of launchctl, which are errno(2)'s of macOS or launchd's own.
const (
	noSuchProcess   = 3   // bootout: the job is not loaded
	inputOutput     = 5   // bootstrap: the job is loaded already, or disabled
	inProgress      = 36  // bootout: it is being taken down
	alreadyProgress = 37  // bootstrap: it is being taken down or up
	noService       = 113 // print, bootout, kickstart: the job is not loaded
)

// launchd is the service manager of macOS, driven by the verbs that came with
// 10.11; load and unload of before are not used.
type launchd struct {
	root    string // before every path of a file; "" but in tests
	program string
	run     Run
	// trusted refuses a program that others than root could replace, and gives
	// its path without links.
	trusted func(path string) (string, error)
	// register writes the property list with launchd's name for it.
	register func(content []byte) (registration, error)
	// own makes a file root's and wheel's.
	own func(path string) error
}

func (d *launchd) plist() string { return filepath.Join(d.root, darwin.PlistPath) }

func (d *launchd) install(ctx context.Context, s *steps) error {
	program, err := d.trusted(d.program)
	if err != nil {
		return err
	}
	content, err := darwin.Render(darwin.Daemon{Program: program})
	if err != nil {
		return err
	}
	if err := d.makeLogs(s); err != nil {
		return err
	}
	there, err := os.ReadFile(d.plist())
	if info, statErr := os.Lstat(d.plist()); err != nil || string(there) != string(content) || statErr != nil || info.Mode() != fileMode {
		if _, err := s.remove(d.plist()); err != nil {
			return err
		}
		if err := s.do("write "+d.plist(), func() error { return d.write(content) }); err != nil {
			return err
		}
		if err == nil {
			s.note("a daemon that runs goes on as it was until: sudo causewayd restart")
		}
	}
	if d.disabled(ctx) {
		return s.call(ctx, launchctl, "enable", job)
	}
	return nil
}

// logsMode keeps the log, which has names of workspaces, from other users: the
// file itself launchd makes readable for all.
const logsMode = fs.FileMode(0o700)

// makeLogs makes the log's directory: launchd makes the log alone.
func (d *launchd) makeLogs(s *steps) error {
	logs := filepath.Join(d.root, darwin.LogDir)
	info, err := os.Lstat(logs)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return s.do("make "+logs, func() error { return os.MkdirAll(logs, logsMode) })
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("make %s: there is something else of that name", logs)
	case info.Mode().Perm() == logsMode:
		return nil
	}
	return s.do("make "+logs+" root's alone", func() error { return os.Chmod(logs, logsMode) })
}

// write registers the list, with the owner and mode without which launchd
// refuses it.
func (d *launchd) write(content []byte) error {
	registered, err := d.register(content)
	if err != nil {
		return err
	}
	if err := registered.Install(); err != nil {
		return err
	}
	return errors.Join(os.Chmod(d.plist(), fileMode), d.own(d.plist()))
}

func (d *launchd) remove(_ context.Context, s *steps) error {
	if _, err := s.remove(d.plist()); err != nil {
		return err
	}
	logs := filepath.Join(d.root, darwin.LogDir)
	if _, err := os.Lstat(logs); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return s.do("remove "+logs, func() error { return os.RemoveAll(logs) })
}

// start loads the job, which starts it unless it was loaded before; kickstart
// starts it in any case.
func (d *launchd) start(ctx context.Context, s *steps) error { return d.up(ctx, s) }

// up loads and starts the job. again are arguments for the kick of a job that
// was loaded already.
func (d *launchd) up(ctx context.Context, s *steps, again ...string) error {
	// Somebody may have disabled it, at which bootstrap fails with 5.
	if err := s.call(ctx, launchctl, "enable", job); err != nil {
		return err
	}
	loading := s.call(ctx, launchctl, "bootstrap", domain, d.plist())
	kick := []string{"kickstart"}
	if refusedWith(loading, inputOutput, alreadyProgress) {
		kick = append(kick, again...)
	} else if loading != nil {
		return loading
	}
	err := s.call(ctx, launchctl, append(kick, job)...)
	if loading != nil && refusedWith(err, noService) {
		return loading // 5 is also what launchd says of a list that it does not take
	}
	return err
}

// stop unloads the job: one that is only killed is started again (KeepAlive).
func (d *launchd) stop(ctx context.Context, s *steps) error {
	err := s.call(ctx, launchctl, "bootout", job)
	if refusedWith(err, noSuchProcess, noService, inProgress) {
		return nil
	}
	return err
}

// restart loads the job anew, so that a changed property list counts. The job
// has to be gone first; one that would not go is killed.
func (d *launchd) restart(ctx context.Context, s *steps) error {
	if err := d.stop(ctx, s); err != nil {
		return err
	}
	if !s.dry {
		d.awaitGone(ctx)
	}
	return d.up(ctx, s, "-k")
}

// awaitGone waits for the end of a job that bootout has begun to take down.
func (d *launchd) awaitGone(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	ticker := time.NewTicker(pollPause)
	defer ticker.Stop()
	for {
		if _, err := d.run(ctx, launchctl, "print", job); err != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// disabled says that launchd would not load the job.
func (d *launchd) disabled(ctx context.Context) bool {
	output, err := d.run(ctx, launchctl, "print-disabled", domain)
	if err != nil {
		return false // bootstrap will tell
	}
	for line := range strings.Lines(output) {
		label, value, found := strings.Cut(strings.TrimSpace(line), " => ")
		if found && label == strconv.Quote(darwin.Label) {
			return value == "disabled" || value == "true" // until macOS 12: true
		}
	}
	return false
}

func (d *launchd) status(ctx context.Context) (Status, error) {
	now := Status{Manager: "launchd", State: NotInstalled}
	if _, err := os.Lstat(d.plist()); err == nil {
		now.State, now.Definition = Stopped, darwin.PlistPath
		now.AtBoot = !d.disabled(ctx)
	}
	output, err := d.run(ctx, launchctl, "print", job)
	if refusedWith(err, noService, noSuchProcess) {
		return now, nil
	}
	if err != nil {
		return now, fmt.Errorf("ask launchd: %w", err)
	}
	readJob(output, &now)
	return now, nil
}

// readJob reads what launchctl prints of a job: "KEY = VALUE" lines, of which
// those that are indented once are the job's own.
func readJob(output string, now *Status) {
	now.State = Starting
	for line := range strings.Lines(output) {
		key, value, found := strings.Cut(strings.TrimRight(line, "\r\n"), " = ")
		if !found || !strings.HasPrefix(key, "\t") || strings.HasPrefix(key, "\t\t") {
			continue
		}
		switch strings.TrimSpace(key) {
		case "state":
			if value == "running" {
				now.State = Running
			}
		case "pid":
			now.PID, _ = strconv.Atoi(value) //nolint:errcheck // launchd prints a number
		case "last exit code":
			number, _, _ := strings.Cut(value, ":")
			now.ExitCode, _ = strconv.Atoi(number) //nolint:errcheck // "(never exited)" is 0
		}
	}
	switch {
	case now.State == Running:
		now.ExitCode = 0 // of an earlier one
	case now.ExitCode != 0:
		now.State = Failed
	}
}
