package system

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/windows/svc"
	"golang.org/x/sys/windows/svc/eventlog"

	"github.com/causewayhq/causeway/service"
)

// Daemon is what runs as a service.
type Daemon struct {
	// Run runs until the context ends; it calls ready when the local API answers.
	Run func(ctx context.Context, ready func()) error
	// Signal takes what Windows says of power and of users' sessions: the
	// service manager's numbers for the control, the event and the session.
	Signal func(control, event, session uint32)
	// HandOver is the cause with which Run's context ends for the next process
	// to go on, see HandOver.
	HandOver error
}

// HandOver is the control, of those that a service may give a meaning, that ends
// the daemon for the next one to go on: rules and names stay meanwhile. Restarts
// and upgrades use it.
const HandOver = svc.Cmd(128)

// RunService connects the process to Windows' service manager and runs the
// daemon until that one stops it. Its error has been given to Windows already.
func RunService(ctx context.Context, daemon Daemon) error {
	log, err := eventlog.Open(Name)
	if err == nil {
		defer func() { _ = log.Close() }()
	}
	h := &handler{ctx: ctx, daemon: daemon, log: log}
	if err := svc.Run(Name, h); err != nil {
		return &service.Error{
			Failure: service.FailureService, Remedy: "start it with: causewayd start (or sc start causewayd); in a terminal, leave --" + ServiceFlag + " out",
			Err: fmt.Errorf("connect to the service manager: %w", err),
		}
	}
	return h.ended
}

// What the daemon takes once it runs.
const accepted = svc.AcceptStop | svc.AcceptShutdown | svc.AcceptPreShutdown | svc.AcceptPowerEvent | svc.AcceptSessionChange

const (
	// pendingTick is how often a start or stop that takes its time counts on:
	// Windows takes one that does not for hung, after pendingHint.
	pendingTick = time.Second
	pendingHint = 10 * time.Second
	// anySession stands for the session that changed. Windows hands its number
	// over in memory that may be gone when another thread reads it; that of
	// services, 0, which would have to be left out, has nobody who logs off.
	anySession = 1
)

// Events of the log, with the numbers of the message file that all programs
// share (EventCreate.exe).
const (
	eventStarted = 1
	eventStopped = 2
	eventFailed  = 3
)

// handler does what the service manager asks.
type handler struct {
	ctx    context.Context
	daemon Daemon
	log    *eventlog.Log // nil: there is none
	ended  error
}

// Execute is the service's life. Its exit code is one of service.Failures.
func (h *handler) Execute(_ []string, requests <-chan svc.ChangeRequest, changes chan<- svc.Status) (bool, uint32) {
	now := svc.Status{State: svc.StartPending, CheckPoint: 1, WaitHint: uint32(pendingHint / time.Millisecond)}
	changes <- now // early: Windows waits 30 s for it
	ctx, stop := context.WithCancelCause(h.ctx)
	defer stop(nil)
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- h.daemon.Run(ctx, closer(ready)) }()
	ticker := time.NewTicker(pendingTick)
	defer ticker.Stop()
	for {
		select {
		case <-ready:
			ready = nil
			if now.State == svc.StartPending {
				now = svc.Status{State: svc.Running, Accepts: accepted}
				changes <- now
				h.event(eventStarted, "causewayd has started")
			}
		case <-ticker.C:
			if now.State != svc.Running {
				now.CheckPoint++
				changes <- now
			}
		case request := <-requests:
			switch request.Cmd {
			case svc.Interrogate:
				changes <- now
			case svc.Stop, svc.Shutdown, svc.PreShutdown, HandOver:
				if now.State != svc.StopPending {
					now = svc.Status{State: svc.StopPending, CheckPoint: 1, WaitHint: uint32(pendingHint / time.Millisecond)}
				}
				changes <- now
				if request.Cmd == HandOver {
					stop(h.daemon.HandOver)
				} else {
					stop(nil)
				}
			case svc.PowerEvent, svc.SessionChange:
				h.daemon.Signal(uint32(request.Cmd), request.EventType, anySession)
			}
		case h.ended = <-ended:
			return h.end()
		}
	}
}

// closer closes the channel once, however often it is called.
func closer(ch chan struct{}) func() {
	closed := make(chan struct{}, 1)
	closed <- struct{}{}
	return func() {
		select {
		case <-closed:
			close(ch)
		default:
		}
	}
}

// end gives the daemon's error the exit code by which recovery acts.
func (h *handler) end() (bool, uint32) {
	if h.ended == nil {
		h.event(eventStopped, "causewayd has stopped")
		return false, 0
	}
	code := uint32(1)
	text := h.ended.Error()
	var failed *service.Error
	if errors.As(h.ended, &failed) {
		code = uint32(failed.Failure)
		if failed.Remedy != "" {
			text += "\nRemedy: " + failed.Remedy
		}
	}
	h.event(eventFailed, text)
	return true, code
}

func (h *handler) event(number uint32, text string) {
	if h.log == nil {
		return
	}
	var err error
	if number == eventFailed {
		err = h.log.Error(number, text)
	} else {
		err = h.log.Info(number, text)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "causewayd: write to the event log:", err)
	}
}
