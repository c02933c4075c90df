package nrpt

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

// pause lets the bubble's time go by, and everything end that is due.
func pause(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// TestSystemHangs: a call that does not end keeps SetDNS for 5 s, and the next
// one not at all.
func TestSystemHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, h := newSystem(), newMemory()
		s.hang = make(chan struct{})
		defer close(s.hang)
		r := rules(h, &listed{}, s)
		began := time.Now()
		must(t, r.SetDNS(t.Context(), suffixes(0, 1), servers))
		if took := time.Since(began); took != 2*callDeadline {
			t.Errorf("took %v", took)
		}
		must(t, r.SetDNS(t.Context(), suffixes(0, 2), servers))
		if took := time.Since(began); took != 2*callDeadline {
			t.Errorf("the second took %v", took-2*callDeadline)
		}
		if n, m := s.told(); n != 1 || m != 1 {
			t.Errorf("%d notifications and %d flushes are running", n, m)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began = time.Now()
		must(t, rules(newMemory(), &listed{}, s).SetDNS(ctx, suffixes(0, 1), servers))
		if took := time.Since(began); took != time.Second {
			t.Errorf("with 1 s to go it took %v", took)
		}
	})
}

func TestSystemFails(t *testing.T) {
	s, h := newSystem(), newMemory()
	s.err = errDenied
	must(t, rules(h, &listed{}, s).SetDNS(t.Context(), suffixes(0, 1), servers))
}

// TestPutBack: others delete our rules, bring group policy, and do not stop.
func TestPutBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, h, journal := newSystem(), newMemory(), &listed{}
		r := New(Options{Store: h, System: s, Journal: journal, Logger: slog.New(slog.DiscardHandler)})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.Watch(ctx) }()
		s.changes <- struct{}{}
		pause(time.Hour)
		if len(h.places[Local]) != 0 {
			t.Error("rules before anybody asked for them")
		}
		must(t, r.SetDNS(ctx, suffixes(0, 1), servers))
		must(t, h.Delete(Local, ruleID(0)))
		s.changes <- struct{}{}
		s.changes <- struct{}{}
		pause(watchFirst + time.Millisecond)
		checkSettled(t, h, journal, suffixes(0, 1))
		if n, _ := s.told(); n != 2 {
			t.Errorf("%d notifications", n)
		}
		pause(2 * watchCalm)
		h.setPolicy(true)
		must(t, h.Write(Policy, foreignID, foreignRule(".", "192.0.2.53", "Corp")))
		s.changes <- struct{}{}
		pause(watchFirst + time.Millisecond)
		checkSettled(t, h, journal, suffixes(0, 1))
		if r.Trouble() == nil || errors.Is(r.Trouble(), errContested) {
			t.Errorf("group policy came: %v", r.Trouble())
		}
		must(t, h.Delete(Policy, foreignID))
		fight(t, r, s, h)
		pause(watchCalm)
		if r.Trouble() != nil {
			t.Errorf("after the fight: %v", r.Trouble())
		}
		must(t, r.Cleanup(ctx))
		s.changes <- struct{}{}
		pause(time.Hour)
		if len(h.places[Local]) != 0 {
			t.Error("rules came back after cleanup")
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// fight deletes the rule whenever it is there, for a quarter of an hour.
func fight(t *testing.T, r *Rules, s *system, h *memory) {
	t.Helper()
	before, _ := s.told()
	for range 15 * 60 {
		must(t, h.Delete(Local, ruleID(0)))
		s.changes <- struct{}{}
		pause(time.Second)
	}
	after, _ := s.told()
	if n := after - before; n < 30 || n > 40 {
		t.Errorf("put back %d times in 15 minutes", n)
	}
	if !errors.Is(r.Trouble(), errContested) {
		t.Errorf("in a fight: %v", r.Trouble())
	}
	pause(watchLast)
	if len(h.places[Local]) != 1 {
		t.Error("the rule was not put back in the end")
	}
}

// TestPutBackUntold: a change that nobody tells of is seen all the same.
func TestPutBackUntold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, journal := newMemory(), &listed{}
		r := rules(h, journal, newSystem())
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.Watch(ctx) }()
		must(t, r.SetDNS(ctx, suffixes(0, 1), servers))
		must(t, h.Delete(Local, ruleID(0)))
		pause(watchSlow + watchFirst)
		checkSettled(t, h, journal, suffixes(0, 1))
		cancel()
		<-ended
	})
}

// TestPutBackTriesAgain: what cannot be written is tried again without being
// told of a change.
func TestPutBackTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, h := newSystem(), newMemory()
		f := &fragile{host: h, listed: &listed{}, steps: -1}
		r := rules(f, f, s)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.Watch(ctx) }()
		must(t, r.SetDNS(ctx, suffixes(0, 1), servers))
		must(t, h.Delete(Local, ruleID(0)))
		until := time.Now().Add(10 * time.Second)
		f.deny = func(string, Place, string) bool { return time.Now().Before(until) }
		s.changes <- struct{}{}
		pause(30 * time.Second)
		checkSettled(t, h, f.listed, suffixes(0, 1))
		cancel()
		<-ended
	})
}
