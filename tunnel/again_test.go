package tunnel

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causewayhq/causeway/netcfg"
	"github.com/causewayhq/causeway/tun"
)

func TestReopening(t *testing.T) {
	const ms = time.Millisecond
	var r reopening
	for at, test := range []struct {
		lived, wait time.Duration
		repeated    bool
	}{
		{0, 0, false}, {1400 * ms, 0, true}, {999 * ms, 250 * ms, true}, {0, 500 * ms, true}, {0, time.Second, true}, {0, 2 * time.Second, true}, {0, 2 * time.Second, true},
		{time.Second, 0, true}, {0, 250 * ms, true}, {5 * time.Second, 0, false}, {0, 250 * ms, true},
	} {
		if wait, repeated := r.after(test.lived); wait != test.wait || repeated != test.repeated {
			t.Errorf("%d, after %v: %v, %t, want %v, %t", at, test.lived, wait, repeated, test.wait, test.repeated)
		}
	}
}

// A device that is taken away again and again is made again each time, soon,
// and nothing is taken off the host in between. The status says so until it has
// stood for a while.
func TestDeviceLostAgainAndAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := barePlane()
		network := servePipes(t, p)
		r := newBubbleRig(t, p, network, t.TempDir())
		last := r.keeping()
		end := r.until()
		r.waitState(Connected)
		const ms = time.Millisecond
		for at, test := range []struct{ lived, wait time.Duration }{{1400 * ms, 0}, {1400 * ms, 0}, {1400 * ms, 0}, {ms, 250 * ms}, {ms, 500 * ms}} {
			time.Sleep(test.lived)
			before, began := last(), time.Now()
			close(before.lost)
			for synctest.Wait(); last() == before; synctest.Wait() {
				time.Sleep(10 * ms)
			}
			if took := time.Since(began); took < test.wait || took > test.wait+20*ms {
				t.Errorf("loss %d: the next device came after %v, want %v", at+1, took, test.wait)
			}
			if lost := problemOf(r.Status(), CodeDevice); (lost != nil) != (at > 0) {
				t.Errorf("loss %d: problem %+v", at+1, lost)
			} else if lost != nil && (!strings.Contains(lost.Cause, "fake0 is gone") || !strings.Contains(lost.Remedy, "NetworkManager")) {
				t.Errorf("loss %d: problem %+v", at+1, lost)
			}
		}
		r.wait("degraded", func(s Status) bool { return s.State == Degraded })
		time.Sleep(standing)
		r.waitState(Connected)
		for _, config := range r.host.applied {
			if config.Interface == "" {
				t.Errorf("the host was brought to %+v", config)
			}
		}
		if r.host.cleaned != 0 {
			t.Errorf("the host was cleaned %d times", r.host.cleaned)
		}
		if err := end(nil); err != nil || r.host.cleaned != 1 {
			t.Errorf("the stop: %v, %d cleanups", err, r.host.cleaned)
		}
	})
}

// A tunnel that cannot go on leaves the names that are known, and nothing that
// would need it: the one that comes next goes on from there.
func TestFailureKeepsNames(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := barePlane()
		network := servePipes(t, p)
		r := newBubbleRig(t, p, network, t.TempDir())
		last := r.keeping()
		end := r.until()
		r.waitState(Connected)
		r.config.OpenDevice = func(string, int) (tun.Device, error) { return nil, errors.New("name is taken") }
		close(last().lost)
		synctest.Wait()
		kept := r.host.last()
		if kept.Interface != "" || len(kept.DNS.Nameservers) != 0 || !slices.ContainsFunc(r.host.names(), func(h netcfg.Host) bool {
			return h.Name == "main.myws.me.coder" && h.Addr == addrOf("main")
		}) {
			t.Errorf("the host was brought to %+v with %v", kept, r.host.names())
		}
		if r.host.cleaned != 0 {
			t.Error("the host was cleaned")
		}
		if err := end(nil); !errors.Is(err, ErrDevice) {
			t.Errorf("Run ended with %v", err)
		}
	})
}

// Where nothing is known, nothing of an earlier process is vouched for.
func TestFailureWithoutNames(t *testing.T) {
	r := newRig(t, newPlane(t), t.TempDir())
	r.config.OpenDevice = func(string, int) (tun.Device, error) { return nil, errors.New("name is taken") }
	if err := r.Run(t.Context()); !errors.Is(err, ErrDevice) {
		t.Errorf("Run ended with %v", err)
	}
	if r.host.cleaned != 1 || len(r.host.applied) != 0 {
		t.Errorf("cleaned %d times, brought to %+v", r.host.cleaned, r.host.applied)
	}
}
