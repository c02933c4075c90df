package platform

import (
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causewayhq/causeway/netcfg/watch"
)

func TestPower(t *testing.T) {
	type at struct {
		after  time.Duration
		signal Signal
		want   wake
	}
	for name, signals := range map[string][]at{
		"sleep":                          {{0, Suspending, noWake}, {time.Hour, Resumed, woke}, {time.Second, Resumed, woke}},
		"shut down":                      {{0, LoggedOff, noWake}, {2 * time.Second, Suspending, noWake}, {time.Hour, Resumed, started}, {time.Second, Resumed, woke}},
		"signed out, slept later":        {{0, LoggedOff, noWake}, {6 * time.Second, Suspending, noWake}, {time.Hour, Resumed, woke}},
		"exactly at the limit":           {{0, LoggedOff, noWake}, {5 * time.Second, Suspending, noWake}, {0, Resumed, woke}},
		"signed out and in":              {{0, LoggedOff, noWake}, {time.Second, Unlocked, noWake}, {time.Second, Suspending, noWake}, {0, Resumed, woke}},
		"sleep after a shutdown":         {{0, LoggedOff, noWake}, {time.Second, Suspending, noWake}, {0, Resumed, started}, {time.Minute, Suspending, noWake}, {0, Resumed, woke}},
		"told twice of a shutdown":       {{0, LoggedOff, noWake}, {time.Second, Suspending, noWake}, {10 * time.Second, Suspending, noWake}, {0, Resumed, started}, {0, Resumed, woke}},
		"logoff before an earlier sleep": {{0, LoggedOff, noWake}, {6 * time.Second, Suspending, noWake}, {0, Resumed, woke}, {0, Suspending, noWake}, {0, Resumed, woke}},
		"clock set back in between":      {{0, LoggedOff, noWake}, {-time.Hour, Suspending, noWake}, {0, Resumed, woke}},
		"resumed without a suspend":      {{0, Resumed, woke}},
		"logged off while it was asleep": {{0, Suspending, noWake}, {time.Second, LoggedOff, noWake}, {time.Second, Resumed, woke}},
	} {
		var p power
		now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		for i, s := range signals {
			now = now.Add(s.after)
			if got := p.observe(s.signal, now); got != s.want {
				t.Errorf("%s: signal %d means %d, want %d", name, i, got, s.want)
			}
		}
	}
}

func TestFromService(t *testing.T) {
	for _, test := range []struct {
		control, event, session uint32
		want                    Signal
	}{
		{0x0d, 0x04, 0, Suspending}, {0x0d, 0x07, 0, Resumed}, {0x0d, 0x12, 0, Resumed}, {0x0d, 0x0a, 0, 0},
		{0x0e, 0x06, 1, LoggedOff}, {0x0e, 0x08, 2, Unlocked}, {0x0e, 0x06, 0, 0}, {0x0e, 0x05, 1, 0}, {0x01, 0x04, 0, 0},
	} {
		if got, ok := FromService(test.control, test.event, test.session); got != test.want || ok != (test.want != 0) {
			t.Errorf("FromService(%#x, %#x, %d) = %d, %v", test.control, test.event, test.session, got, ok)
		}
	}
}

// TestSignals: a resume is a wake, one after a shutdown ends the process, an
// unlock is a reason to look.
func TestSignals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		restarts := 0
		o := &OS{log: slog.New(slog.DiscardHandler), signals: make(chan Signal, signalBacklog), restart: func() { restarts++ }}
		notices := make(chan watch.Notice)
		ended := make(chan struct{})
		ctx, cancel := contextOf(t)
		go func() { defer close(ended); o.watchSignals(ctx, notices) }()
		expect := func(want ...watch.Notice) {
			t.Helper()
			for _, w := range want {
				if got := <-notices; got != w {
					t.Errorf("notice %d, want %d", got, w)
				}
			}
		}
		o.Observe(Suspending)
		o.Observe(Resumed)
		expect(watch.Wake)
		o.Observe(Unlocked)
		expect(watch.Foreign, watch.Own)
		if restarts != 0 {
			t.Error("restarted after a sleep")
		}
		o.Observe(LoggedOff)
		synctest.Wait()
		time.Sleep(3 * time.Second)
		o.Observe(Suspending)
		o.Observe(Resumed)
		expect(watch.Wake)
		if restarts != 1 {
			t.Errorf("%d restarts after a shutdown", restarts)
		}
		for range 10 * signalBacklog {
			o.Observe(Resumed) // nobody reads: it does not block
		}
		cancel()
		<-ended
	})
}
