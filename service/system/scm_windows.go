package system

import (
	"context"
	"errors"
	"fmt"
	"time"

	kardianos "github.com/kardianos/service"
	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/svc"
	"golang.org/x/sys/windows/svc/mgr"

	"github.com/causewayhq/causeway/service"
)

// scm is the service manager of Windows.
type scm struct {
	program  string
	name     string
	handOver bool // a stop leaves the network to the next process
}

func open(options Options) (backend, error) {
	return &scm{program: options.Program, name: Name, handOver: options.HandOver}, nil
}

// registration is the library's, which makes the service and its source of the
// event log, and takes both away. What it lacks, changes add.
func (m *scm) registration() (registration, error) {
	return kardianos.New(nil, &kardianos.Config{
		Name: m.name, DisplayName: displayName, Description: description,
		Executable: m.program, Arguments: []string{"run", "--" + ServiceFlag},
	})
}

// with opens the service with those rights for the length of one action; ok is
// false where there is no such service.
func (m *scm) with(manager, access uint32, act func(*mgr.Mgr, *mgr.Service) error) (ok bool, err error) {
	handle, err := windows.OpenSCManager(nil, nil, manager)
	if err != nil {
		return false, denied("open service manager", err)
	}
	connection := &mgr.Mgr{Handle: handle}
	defer func() { _ = connection.Disconnect() }()
	name, err := windows.UTF16PtrFromString(m.name)
	if err != nil {
		return false, err
	}
	opened, err := windows.OpenService(handle, name, access)
	if errors.Is(err, windows.ERROR_SERVICE_DOES_NOT_EXIST) {
		return false, nil
	}
	if err != nil {
		return false, denied("open service "+m.name, err)
	}
	found := &mgr.Service{Name: m.name, Handle: opened}
	defer func() { _ = found.Close() }()
	return true, act(connection, found)
}

// denied gives the errors that need no log their remedies.
func denied(what string, err error) error {
	switch {
	case errors.Is(err, windows.ERROR_ACCESS_DENIED):
		return &service.Error{Failure: service.FailurePrivilege, Remedy: "run it in a terminal that was opened as administrator", Err: fmt.Errorf("%s: %w", what, err)}
	case errors.Is(err, windows.ERROR_SERVICE_MARKED_FOR_DELETE):
		return &service.Error{Failure: service.FailureService, Remedy: "close the windows that show services (services.msc, Task Manager), or restart Windows, and run it again", Err: fmt.Errorf("%s: %w", what, err)}
	case errors.Is(err, windows.ERROR_SERVICE_DISABLED):
		return &service.Error{Failure: service.FailureService, Remedy: "run: causewayd install (which enables it)", Err: fmt.Errorf("%s: %w", what, err)}
	case errors.Is(err, windows.ERROR_SERVICE_DEPENDENCY_FAIL), errors.Is(err, windows.ERROR_SERVICE_DEPENDENCY_DELETED):
		return &service.Error{Failure: service.FailureService, Remedy: "run: causewayd install (which leaves out what cannot run)", Err: fmt.Errorf("%s: %w", what, err)}
	}
	return fmt.Errorf("%s: %w", what, err)
}

func (m *scm) install(_ context.Context, s *steps) error {
	there, err := m.with(windows.SC_MANAGER_CONNECT, windows.SERVICE_QUERY_STATUS, func(*mgr.Mgr, *mgr.Service) error { return nil })
	if err != nil {
		return err
	}
	if !there {
		registered, err := m.registration()
		if err != nil {
			return err
		}
		if err := s.do("create service "+m.name+" and its event source", registered.Install); err != nil {
			return denied("install service", err)
		}
		if s.dry {
			want := wanted(m.program, func(string) bool { return true })
			for _, c := range want.changes(settings{}) {
				s.note("would %s", want.words(c))
			}
			return nil
		}
	}
	_, err = m.with(windows.SC_MANAGER_CONNECT, windows.SERVICE_ALL_ACCESS, func(connection *mgr.Mgr, opened *mgr.Service) error {
		found, err := read(opened)
		if err != nil {
			return err
		}
		want := wanted(m.program, func(name string) bool { return usable(connection, name) })
		for _, c := range want.changes(found) {
			err := s.do(want.words(c), func() error { return apply(opened, want, c) })
			if lacks(err) {
				s.note("this Windows cannot %s", want.words(c))
			} else if err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

func (m *scm) remove(_ context.Context, s *steps) error {
	there, err := m.with(windows.SC_MANAGER_CONNECT, windows.SERVICE_QUERY_STATUS, func(*mgr.Mgr, *mgr.Service) error { return nil })
	if err != nil || !there {
		return err
	}
	registered, err := m.registration()
	if err != nil {
		return err
	}
	if err := s.do("delete service "+m.name+" and its event source", registered.Uninstall); err != nil {
		return denied("remove service", err)
	}
	return nil
}

func (m *scm) start(_ context.Context, s *steps) error {
	_, err := m.with(windows.SC_MANAGER_CONNECT, windows.SERVICE_START, func(_ *mgr.Mgr, opened *mgr.Service) error {
		err := s.do("start service "+m.name, func() error { return opened.Start() })
		if err != nil && !errors.Is(err, windows.ERROR_SERVICE_ALREADY_RUNNING) {
			return denied("start service", err)
		}
		return nil
	})
	return err
}

func (m *scm) stop(_ context.Context, s *steps) error {
	control, access, words := svc.Stop, uint32(windows.SERVICE_STOP), "stop service "+m.name
	if m.handOver {
		control, access, words = HandOver, windows.SERVICE_USER_DEFINED_CONTROL, "stop service "+m.name+" for another to go on"
	}
	_, err := m.with(windows.SC_MANAGER_CONNECT, access, func(_ *mgr.Mgr, opened *mgr.Service) error {
		err := s.do(words, func() error { _, err := opened.Control(control); return err })
		if err != nil && !errors.Is(err, windows.ERROR_SERVICE_NOT_ACTIVE) {
			return denied("stop service", err)
		}
		return nil
	})
	return err
}

// restart hands over, waits, with a limit, until the process has gone, and starts
// the service.
func (m *scm) restart(ctx context.Context, s *steps) error {
	leaving := *m
	leaving.handOver = true
	if err := leaving.stop(ctx, s); err != nil {
		return err
	}
	if !s.dry {
		if err := m.awaitStopped(ctx); err != nil {
			return err
		}
	}
	return m.start(ctx, s)
}

func (m *scm) awaitStopped(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	ticker := time.NewTicker(pollPause)
	defer ticker.Stop()
	for {
		now, err := m.status(ctx)
		if err != nil || now.PID == 0 && (now.State == Stopped || now.State == Failed) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the service to stop: after %s it is %s", stopLimit, now.State)
		case <-ticker.C:
		}
	}
}

func (m *scm) status(context.Context) (Status, error) {
	now := Status{Manager: "windows", State: NotInstalled}
	_, err := m.with(windows.SC_MANAGER_CONNECT, windows.SERVICE_QUERY_STATUS|windows.SERVICE_QUERY_CONFIG, func(_ *mgr.Mgr, opened *mgr.Service) error {
		found, err := opened.Query()
		if err != nil {
			return fmt.Errorf("query service %s: %w", m.name, err)
		}
		now.State, now.PID = stateOf(found.State), int(found.ProcessId)
		if found.State == svc.Stopped && found.Win32ExitCode != 0 && found.Win32ExitCode != uint32(windows.ERROR_SERVICE_NEVER_STARTED) {
			now.State, now.ExitCode = Failed, int(found.ServiceSpecificExitCode)
			if found.ServiceSpecificExitCode == 0 {
				now.Detail = "Windows says: " + windows.Errno(found.Win32ExitCode).Error()
			}
		}
		base, err := query(opened.Handle)
		now.AtBoot = err == nil && base.start == windows.SERVICE_AUTO_START
		return nil
	})
	return now, err
}

func stateOf(state svc.State) State {
	switch state {
	case svc.StartPending, svc.ContinuePending:
		return Starting
	case svc.StopPending:
		return Stopping
	case svc.Running, svc.Paused, svc.PausePending:
		return Running
	}
	return Stopped
}
