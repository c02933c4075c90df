package system

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/svc"

	"github.com/causewayhq/causeway/service"
)

// life runs a handler as Windows does.
type life struct {
	t        *testing.T
	requests chan svc.ChangeRequest
	changes  chan svc.Status
	code     chan uint32
	specific bool
}

func live(t *testing.T, daemon Daemon) *life {
	l := &life{t: t, requests: make(chan svc.ChangeRequest), changes: make(chan svc.Status), code: make(chan uint32, 1)}
	h := &handler{ctx: t.Context(), daemon: daemon}
	go func() {
		specific, code := h.Execute(nil, l.requests, l.changes)
		l.specific = specific
		l.code <- code
	}()
	return l
}

// next is the next status that is told.
func (l *life) next() svc.Status {
	l.t.Helper()
	select {
	case status := <-l.changes:
		return status
	case code := <-l.code:
		l.t.Fatalf("it has ended with %d", code)
	case <-time.After(20 * time.Second):
		l.t.Fatal("nothing is told")
	}
	return svc.Status{}
}

// end is the exit code, whatever is told before.
func (l *life) end() uint32 {
	l.t.Helper()
	for {
		select {
		case <-l.changes:
		case code := <-l.code:
			return code
		case <-time.After(20 * time.Second):
			l.t.Fatal("it does not end")
		}
	}
}

func TestHandlerLife(t *testing.T) {
	begin, heard := make(chan struct{}), make(chan [2]uint32, 8)
	l := live(t, Daemon{
		Run: func(ctx context.Context, ready func()) error {
			<-begin
			ready()
			ready()
			<-ctx.Done()
			return nil
		},
		Signal: func(control, event, _ uint32) { heard <- [2]uint32{control, event} },
	})
	// A start that takes its time counts on.
	first, second := l.next(), l.next()
	if first.State != svc.StartPending || second.State != svc.StartPending || second.CheckPoint <= first.CheckPoint || first.WaitHint == 0 || first.Accepts != 0 {
		t.Errorf("told %+v and %+v", first, second)
	}
	close(begin)
	status := l.next()
	for status.State == svc.StartPending {
		status = l.next()
	}
	want := svc.AcceptStop | svc.AcceptShutdown | svc.AcceptPreShutdown | svc.AcceptPowerEvent | svc.AcceptSessionChange
	if status.State != svc.Running || status.Accepts != want {
		t.Errorf("told %+v", status)
	}
	l.requests <- svc.ChangeRequest{Cmd: svc.Interrogate}
	if status := l.next(); status.State != svc.Running {
		t.Errorf("asked, it tells %+v", status)
	}
	l.requests <- svc.ChangeRequest{Cmd: svc.PowerEvent, EventType: 4}
	l.requests <- svc.ChangeRequest{Cmd: svc.SessionChange, EventType: windows.WTS_SESSION_LOGOFF}
	if got, want := [][2]uint32{<-heard, <-heard}, [][2]uint32{{0xd, 4}, {0xe, 6}}; !slices.Equal(got, want) {
		t.Errorf("heard %v, want %v", got, want)
	}
	l.requests <- svc.ChangeRequest{Cmd: svc.PreShutdown}
	if status := l.next(); status.State != svc.StopPending || status.WaitHint == 0 {
		t.Errorf("told %+v", status)
	}
	if code := l.end(); code != 0 || l.specific {
		t.Errorf("ended with %d, specific %v", code, l.specific)
	}
}

// TestHandlerExitCodes: recovery acts on a code that is not 0.
func TestHandlerExitCodes(t *testing.T) {
	for err, want := range map[error]uint32{
		&service.Error{Failure: service.FailureConfig, Remedy: "x", Err: errors.New("x")}: 10,
		errors.New("unknown"): 1,
	} {
		l := live(t, Daemon{Run: func(context.Context, func()) error { return err }})
		if code := l.end(); code != want || !l.specific {
			t.Errorf("%v: ended with %d, specific %v, want %d", err, code, l.specific, want)
		}
	}
}

func TestHandlerStop(t *testing.T) {
	for _, control := range []svc.Cmd{svc.Stop, svc.Shutdown} {
		l := live(t, Daemon{Run: func(ctx context.Context, ready func()) error {
			ready()
			<-ctx.Done()
			return &service.Error{Failure: service.FailureNetwork, Err: errors.New("left something")}
		}})
		for l.next().State != svc.Running {
		}
		l.requests <- svc.ChangeRequest{Cmd: control}
		if code := l.end(); code != 14 || !l.specific {
			t.Errorf("ended with %d, specific %v", code, l.specific)
		}
	}
}

// TestHandlerHandOver: what ends the daemon is the cause that it was given.
func TestHandlerHandOver(t *testing.T) {
	cause := errors.New("for the next one")
	for control, want := range map[svc.Cmd]error{HandOver: cause, svc.Stop: context.Canceled} {
		var got error
		l := live(t, Daemon{HandOver: cause, Run: func(ctx context.Context, ready func()) error {
			ready()
			<-ctx.Done()
			got = context.Cause(ctx)
			return nil
		}})
		for l.next().State != svc.Running {
		}
		l.requests <- svc.ChangeRequest{Cmd: control}
		if status := l.next(); status.State != svc.StopPending {
			t.Errorf("control %d: told %+v", control, status)
		}
		if code := l.end(); code != 0 || !errors.Is(got, want) {
			t.Errorf("control %d: ended with %d, of %v, want %v", control, code, got, want)
		}
	}
}
