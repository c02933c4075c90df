package nrpt

import (
	"context"
	"errors"
	"testing"
	"time"
)

// TestWatchRegistry has real notifications: each kind of change is seen, also
// of keys that did not exist when the watch began, and ours are put back.
func TestWatchRegistry(t *testing.T) {
	h := newHost(t).(realHost)
	ctx, cancel := context.WithCancel(within(t))
	changes := make(chan struct{}, 1)
	ended := make(chan error, 1)
	go func() { ended <- h.Watch(ctx, func() { poke(changes) }) }()
	seen := func(what string) {
		t.Helper()
		select {
		case <-changes:
		case <-time.After(10 * time.Second):
			t.Fatalf("not seen: %s", what)
		}
		for quiet := false; !quiet; { // one change can be told more than once
			select {
			case <-changes:
			case <-time.After(200 * time.Millisecond):
				quiet = true
			}
		}
	}
	seen("that the watch has begun")
	made := func(what string, err error) {
		t.Helper()
		must(t, err)
		seen(what)
	}
	made("local rule written", h.Write(Local, foreignID, foreignRule(".", "192.0.2.1", "Other")))
	made("value changed", h.Write(Local, foreignID, foreignRule(".", "192.0.2.2", "Other")))
	made("local rule deleted", h.Delete(Local, foreignID))
	h.setPolicy(true)
	seen("key of group policy made")
	made("policy rule written", h.Write(Policy, foreignID, foreignRule(".", "192.0.2.1", "Other")))
	h.setPolicy(false)
	seen("key of group policy removed")
	h.setPolicy(true)
	seen("key of group policy made again")
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestPutBackRegistry deletes a rule before anybody watches, and then each.
func TestPutBackRegistry(t *testing.T) {
	h, journal := newHost(t).(realHost), &listed{}
	r := rules(h, journal, h.Registry)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	must(t, r.SetDNS(ctx, suffixes(0, 60), servers))
	must(t, h.Delete(Local, ruleID(0)))
	go func() { ended <- r.Watch(ctx) }()
	for _, id := range []string{ruleID(0), ruleID(1)} {
		if !back(t, h) {
			cancel()
			t.Fatalf("not put back; the watch ended with %v", <-ended)
		}
		must(t, h.Delete(Local, id))
	}
	if !back(t, h) {
		t.Error("the second one was not put back")
	}
	cancel()
	<-ended
	checkSettled(t, h, journal, suffixes(0, 60))
}

// back waits for both rules, less long than the slow look takes.
func back(t *testing.T, h realHost) bool {
	t.Helper()
	for deadline := time.Now().Add(watchSlow / 3); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if list, _, err := h.List(Local); err == nil && len(list) == 2 {
			return true
		}
	}
	return false
}

// TestRealSystem calls what Wine has; what it lacks is an error and no panic.
func TestRealSystem(t *testing.T) {
	h := newHost(t).(realHost)
	if err := h.FlushCache(); err != nil {
		t.Error(err)
	}
	t.Logf("notification: %v", h.NotifyPolicy())
}
