package tunnel

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/netcfg"
)

// signedOut is a tunnel whose token was revoked while it was connected, on a
// control plane that takes only the next one.
func signedOut(t *testing.T) (*plane, *pipes, *rig, string) {
	t.Helper()
	p := barePlane()
	network := servePipes(t, p)
	dir := t.TempDir()
	r := newBubbleRig(t, p, network, dir).start()
	r.waitState(Connected)
	synctest.Wait()
	p.set(func(p *plane) { p.token = "next-token" })
	p.drop()
	r.wait("signed out", func(s Status) bool { return len(s.Problems) > 0 && s.Problems[0].Code == CodeSignedOut })
	return p, network, r, dir
}

// A new token of the same user is dialled with at once, out of the half minute
// between two tries with a refused one, and nothing is made anew.
func TestNextToken(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, network, r, dir := signedOut(t)
		time.Sleep(10 * time.Second) // in the middle of the wait
		synctest.Wait()
		dials := len(network.dialed())
		began := time.Now()
		r.SetToken("next-token")
		status := r.waitState(Connected)
		synctest.Wait()
		if took := time.Since(began); took > 100*time.Millisecond || len(network.dialed()) == dials {
			t.Errorf("connected %v after the new token, with %d dials", took, len(network.dialed())-dials)
		}
		if len(status.Problems) != 0 {
			t.Errorf("problems %+v", status.Problems)
		}
		wantUntouched(t, r)
		wantSaved(t, dir, "next-token")
		// Asking who we are takes the new token too.
		time.Sleep(refreshEvery + time.Second)
		if status := r.Status(); len(status.Problems) != 0 || !status.ControlConnected {
			t.Errorf("ten minutes later %+v", status)
		}
	})
}

// wantSaved holds that a new token is on the disk soon.
func wantSaved(t *testing.T, dir string, token Token) {
	t.Helper()
	time.Sleep(2 * saveDelay)
	synctest.Wait()
	if kept, found, err := (store{dir}).load(); err != nil || !found || kept.TokenSum != tokenSum(token) {
		t.Errorf("on disk is not the new token's sum, or %v", err)
	}
}

// A connection that was made with a token which is still good stays; the next
// one is made with the new token.
func TestNextTokenWhileConnected(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := barePlane()
		network := servePipes(t, p)
		dir := t.TempDir()
		r := newBubbleRig(t, p, network, dir).start()
		r.waitState(Connected)
		time.Sleep(time.Minute)
		synctest.Wait()
		dials := len(network.dialed())
		r.SetToken("next-token")
		wantSaved(t, dir, "next-token")
		if status := r.Status(); status.State != Connected || len(network.dialed()) != dials {
			t.Errorf("%s, %d further dials", status.State, len(network.dialed())-dials)
		}
		p.set(func(p *plane) { p.token = "next-token" })
		p.drop()
		began := time.Now()
		r.wait("its end", func(s Status) bool { return !s.ControlConnected })
		r.waitState(Connected)
		r.wait("the next connection", func(s Status) bool { return s.ControlConnected })
		if took := time.Since(began); took > time.Second {
			t.Errorf("connected again after %v", took)
		}
		wantUntouched(t, r)
	})
}

// wantUntouched holds that no part of the tunnel was made anew or taken away.
func wantUntouched(t *testing.T, r *rig) {
	t.Helper()
	synctest.Wait() // nobody writes what is read here
	if len(r.engines) != 1 || r.engine().closed {
		t.Errorf("%d data planes, the last closed: %v", len(r.engines), r.engine().closed)
	}
	if slices.Contains(r.order.list, "host emptied") || slices.Contains(r.order.list, "device closed") {
		t.Errorf("events %v", r.order.list)
	}
	opened := 0
	for _, event := range r.order.list {
		if event == "device opened" {
			opened++
		}
	}
	if opened != 1 {
		t.Errorf("the device was opened %d times", opened)
	}
	if slices.ContainsFunc(r.host.applied, func(c netcfg.Config) bool { return c.Interface == "" || len(c.DNS.Suffixes) == 0 }) {
		t.Error("the names were taken off the host")
	}
	if !resolves(t, r.Tunnel, "myws.coder", "main") {
		t.Error("the name does not answer")
	}
}

// A dial with the old token that is under way when the new one comes may fail
// after the kick: the new one does not wait for half a minute then.
func TestNextTokenWhileTheOldIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p, _, r, _ := signedOut(t)
		var once sync.Once
		replaced := make(chan time.Time, 1)
		p.set(func(p *plane) {
			p.refused = func() {
				once.Do(func() {
					replaced <- time.Now()
					r.SetToken("next-token")
					time.Sleep(time.Millisecond) // the loop spends the kick on this dial
				})
			}
		})
		began := <-replaced
		r.waitState(Connected)
		if took := time.Since(began); took > 100*time.Millisecond {
			t.Errorf("connected %v after the new token", took)
		}
		wantUntouched(t, r)
	})
}

// A tunnel that has never heard from its control plane is told the same way.
func TestNextTokenBeforeTheFirstAnswer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := barePlane()
		p.token = "next-token"
		network := servePipes(t, p)
		r := newBubbleRig(t, p, network, t.TempDir()).start()
		r.waitState(Failed)
		time.Sleep(time.Second)
		began := time.Now()
		r.SetToken("next-token")
		if status := r.Status(); status.State == Failed {
			t.Errorf("still failed of the old token: %+v", status.Problems)
		}
		r.waitState(Connected)
		if took := time.Since(began); took > 100*time.Millisecond {
			t.Errorf("connected after %v", took)
		}
	})
}

// A token that turns out to be another user's, against the contract, gets
// nothing of the first.
func TestNextTokenOfAnotherUser(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p, _, r, _ := signedOut(t)
		first := r.kept()
		p.set(func(p *plane) { p.user, p.username = uuid.New(), "bob" })
		r.SetToken("next-token")
		time.Sleep(refreshEvery)
		r.wait("bob", func(s Status) bool { return s.User == "bob" && s.State == Connected })
		if len(r.engines) != 2 || !r.engines[0].closed {
			t.Errorf("%d data planes", len(r.engines))
		}
		if kept := r.kept(); kept.ClientID == first.ClientID || kept.TokenSum != tokenSum("next-token") {
			t.Error("bob has something of alice's")
		}
	})
}
