package tunnel

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/causewayhq/causeway/netcfg"
)

func TestHostThatRefuses(t *testing.T) {
	r := newRig(t, newPlane(t), t.TempDir())
	r.host.fail = errors.New("resolved says no")
	r.start()
	status := r.waitState(Degraded)
	if status.Problems[0].Code != CodeHost || !strings.Contains(status.Problems[0].Cause, "resolved says no") {
		t.Errorf("problems %+v", status.Problems)
	}
	r.host.mu.Lock()
	r.host.fail = nil
	r.host.mu.Unlock()
	r.waitState(Connected) // by itself
}

// TestHostInTrouble: what goes wrong after the host has taken the wanted state
// is a problem for as long as it lasts.
func TestHostInTrouble(t *testing.T) {
	r := newRig(t, newPlane(t), t.TempDir()).start()
	r.waitState(Connected)
	say := func(err error) {
		r.host.mu.Lock()
		r.host.trouble = err
		changed := r.host.changed
		r.host.mu.Unlock()
		changed(netcfg.NetworkChanged)
	}
	eventually(t, "the host is watched", func() bool {
		r.host.mu.Lock()
		defer r.host.mu.Unlock()
		return r.host.changed != nil
	})
	say(errors.Join(
		fmt.Errorf("write hosts file: %w", &fs.PathError{Op: "open", Path: "/etc/hosts", Err: errors.New("read-only file system")}),
		errors.New("routes of othervpn0 lead our packets away"),
	))
	status := r.waitState(Degraded)
	if second := status.Problems[1]; second.Code != CodeHost || !strings.Contains(second.Cause, "othervpn0") || !strings.Contains(second.Remedy, "stop the program") {
		t.Errorf("problems %+v", status.Problems)
	}
	if first := status.Problems[0]; first.Code != CodeHost || !strings.Contains(first.Cause, "/etc/hosts") || !strings.Contains(first.Remedy, "writable") {
		t.Errorf("problems %+v", status.Problems)
	}
	say(nil)
	r.waitState(Connected)
}

// TestHostThatKeepsSomething: what could not be taken away is the error of Run,
// and the data plane is closed nevertheless.
func TestHostThatKeepsSomething(t *testing.T) {
	busy, denied := errors.New("remove route: busy"), errors.New("restore hosts: denied")
	for name, test := range map[string]struct{ apply, cleanup error }{
		"apply":   {apply: busy},
		"cleanup": {cleanup: denied},
		"both":    {apply: busy, cleanup: denied},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, newPlane(t), t.TempDir()).start()
			r.waitState(Connected)
			r.host.mu.Lock()
			r.host.fail, r.host.stuck = test.apply, test.cleanup
			r.host.mu.Unlock()
			err := r.stop()
			if !errors.Is(err, ErrHost) {
				t.Fatalf("Run ended with %v", err)
			}
			for _, want := range []error{test.apply, test.cleanup} {
				if want != nil && !errors.Is(err, want) {
					t.Errorf("%v does not say %q", err, want)
				}
			}
			if r.host.cleaned != 1 || !slices.Contains(r.order.list, "device closed") {
				t.Errorf("cleaned %d times; %v", r.host.cleaned, r.order.list)
			}
		})
	}
}

// TestTroubleIsLookedAtOnly: word of trouble on the host is a reason to look at
// once, and none to dial or configure anything: a session without a loop would
// not survive that.
func TestTroubleIsLookedAtOnly(t *testing.T) {
	s := &session{look: make(chan struct{}, 1), host: make(chan struct{}, 1)}
	s.happened(netcfg.Troubled)
	if len(s.look) != 1 || len(s.host) != 0 {
		t.Errorf("looks %d times, configures %d times; want 1 and 0", len(s.look), len(s.host))
	}
}
