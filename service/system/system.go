package system

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/causewayhq/causeway/service"
)

// Name of the service: systemd adds ".service"; launchd has a label of its own.
const Name = "causewayd"

// Options of New.
type Options struct {
	// Program is causewayd's absolute path; it is what gets installed.
	Program string
	// DryRun changes nothing and says what would be changed.
	DryRun bool
	// HandOver has a stop leave the network as it is for the next process; the
	// other service managers know that by themselves.
	HandOver bool
	// Say takes a line for each thing that was done.
	Say func(line string)
	// Cleanup undoes the network configuration that a daemon left.
	Cleanup func(ctx context.Context) error
	// Answers says whether the daemon's local API answers.
	Answers func(ctx context.Context) bool
}

// Manager is the operating system's service manager.
type Manager struct {
	options Options
	backend backend
	steps   *steps
}

// backend is one kind of service manager. What its methods change, they change
// through the steps.
type backend interface {
	// install registers the program, to be started with the machine.
	install(ctx context.Context, s *steps) error
	// remove takes back what install did; the daemon is stopped.
	remove(ctx context.Context, s *steps) error
	// start, stop and restart may return before it is done.
	start(ctx context.Context, s *steps) error
	stop(ctx context.Context, s *steps) error
	restart(ctx context.Context, s *steps) error
	status(ctx context.Context) (Status, error)
}

// New finds this machine's service manager; nothing is touched.
func New(options Options) (*Manager, error) {
	found, err := open(options)
	if err != nil {
		return nil, err
	}
	return assemble(options, found, runProgram), nil
}

func assemble(options Options, found backend, run Run) *Manager {
	return &Manager{options: options, backend: found, steps: &steps{dry: options.DryRun, say: options.Say, run: run}}
}

// Install registers the service to start with the machine. It does not start it.
func (m *Manager) Install(ctx context.Context) error {
	said := 0
	say := m.steps.say
	m.steps.say = func(line string) { said++; say(line) }
	defer func() { m.steps.say = say }()
	if err := m.backend.install(ctx, m.steps); err != nil {
		return refused("install service", err)
	}
	if said == 0 {
		say("installed already: nothing to do")
	}
	return nil
}

// Uninstall stops the daemon, undoes what it did to the network, and takes the
// service away. Where there is none, the network is cleaned up all the same.
func (m *Manager) Uninstall(ctx context.Context) error {
	if err := m.Stop(ctx); err != nil && !notInstalled(err) {
		return err
	}
	if err := m.steps.do("undo network configuration", func() error { return m.options.Cleanup(ctx) }); err != nil {
		return err
	}
	if err := m.backend.remove(ctx, m.steps); err != nil {
		return refused("remove service", err)
	}
	return nil
}

// Limits of what the managers do behind our back: a start waits for the local
// API, a stop for the daemon, which gives itself 12 s (service.ShutdownLimit).
const (
	startLimit = 60 * time.Second
	stopLimit  = 30 * time.Second
	pollPause  = 100 * time.Millisecond
	// failedFor is how long a daemon must be seen down, with an error, before a
	// start is given up: managers try again by themselves.
	failedFor = 5 * time.Second
)

// Start starts the service and waits until it runs.
func (m *Manager) Start(ctx context.Context) error {
	before, err := m.installed(ctx)
	if err != nil {
		return err
	}
	if before.State == Running {
		m.steps.note("it runs already: nothing to do")
		return nil
	}
	if err := m.backend.start(ctx, m.steps); err != nil {
		return m.explained(ctx, "start service", err)
	}
	return m.awaitRunning(ctx, "start service", 0)
}

// Restart has the manager end the process and start another; what it does to
// sessions and names depends on the platform.
func (m *Manager) Restart(ctx context.Context) error {
	before, err := m.installed(ctx)
	if err != nil {
		return err
	}
	if err := m.backend.restart(ctx, m.steps); err != nil {
		return m.explained(ctx, "restart service", err)
	}
	return m.awaitRunning(ctx, "restart service", before.PID)
}

// Stop stops the service and waits until its process has gone.
func (m *Manager) Stop(ctx context.Context) error {
	before, err := m.installed(ctx)
	if err != nil {
		return err
	}
	if before.State == Stopped {
		m.steps.note("it does not run: nothing to do")
		return nil
	}
	if err := m.backend.stop(ctx, m.steps); err != nil {
		return m.explained(ctx, "stop service", err)
	}
	return m.await(ctx, "stop service", stopLimit, func(now Status) (bool, error) {
		return now.PID == 0 && (now.State == Stopped || now.State == NotInstalled || now.State == Failed), nil
	})
}

// Status asks the service manager.
func (m *Manager) Status(ctx context.Context) (Status, error) {
	now, err := m.backend.status(ctx)
	if err != nil {
		return now, refused("ask the service manager", err)
	}
	return now, nil
}

// awaitRunning waits for a process that is not the old one and, where Answers
// is given, for its local API.
func (m *Manager) awaitRunning(ctx context.Context, what string, old int) error {
	var downSince time.Time
	return m.await(ctx, what, startLimit, func(now Status) (bool, error) {
		if now.State != Failed {
			downSince = time.Time{}
		} else if downSince.IsZero() {
			downSince = time.Now()
		} else if time.Since(downSince) >= failedFor {
			return false, ended(what, now)
		}
		if now.State != Running || old != 0 && now.PID == old {
			return false, nil
		}
		return m.options.Answers == nil || m.options.Answers(ctx), nil
	})
}

// await asks again and again until done says so.
func (m *Manager) await(ctx context.Context, what string, limit time.Duration, done func(Status) (bool, error)) error {
	if m.steps.dry {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	ticker := time.NewTicker(pollPause)
	defer ticker.Stop()
	var now Status
	for {
		seen, err := m.backend.status(ctx)
		if err == nil {
			now = seen
			ready, err := done(now)
			if err != nil || ready {
				return err
			}
		} else if ctx.Err() == nil {
			return refused(what, err)
		}
		select {
		case <-ctx.Done():
			if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
				return &service.Error{Failure: service.FailureService, Remedy: seeLog, Err: fmt.Errorf("%s: after %s it is %s", what, limit, now.Line())}
			}
			return &service.Error{Failure: service.FailureService, Err: fmt.Errorf("%s: %w", what, context.Cause(ctx))}
		case <-ticker.C:
		}
	}
}

// installed is the status of a service that is there.
func (m *Manager) installed(ctx context.Context) (Status, error) {
	now, err := m.Status(ctx)
	if err == nil && !now.Installed() {
		err = &service.Error{Failure: service.FailureNotInstalled, Remedy: "run: " + asRoot + "causewayd install", Err: errNotInstalled}
	}
	return now, err
}

var errNotInstalled = errors.New("causewayd is not installed as a service")

func notInstalled(err error) bool { return errors.Is(err, errNotInstalled) }

// explained says why the daemon ended, where the manager knows.
func (m *Manager) explained(ctx context.Context, what string, err error) error {
	if now, statusErr := m.backend.status(ctx); statusErr == nil && now.ExitCode != 0 {
		return ended(what, now)
	}
	return refused(what, err)
}

// ended is a daemon that gave up, in its own words.
func ended(what string, now Status) error {
	for _, point := range service.Failures() {
		if int(point.Failure) == now.ExitCode {
			return &service.Error{Failure: service.FailureService, Remedy: seeLog, Err: fmt.Errorf("%s: the daemon ended with exit code %d: %s", what, now.ExitCode, point.Text)}
		}
	}
	return &service.Error{Failure: service.FailureService, Remedy: seeLog, Err: fmt.Errorf("%s: the daemon is %s", what, now.Line())}
}

// refused gives an error of the service manager its exit code; one that has a
// code keeps it.
func refused(what string, err error) error {
	var known *service.Error
	if errors.As(err, &known) {
		return err
	}
	return &service.Error{Failure: service.FailureService, Remedy: refusedRemedy, Err: fmt.Errorf("%s: %w", what, err)}
}
