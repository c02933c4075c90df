package watch

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causewayhq/causeway/netcfg"
)

// bench runs a Loop in a bubble and writes down what it does, and when.
type bench struct {
	notices chan Notice
	start   time.Time
	network atomic.Value // string
	slept   atomic.Int64 // nanoseconds added to the boot clock
	vain    atomic.Bool  // repairs find all in place

	mu  sync.Mutex
	log []string
}

func (b *bench) note(format string, args ...any) {
	at := time.Since(b.start).Round(time.Millisecond)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.log = append(b.log, fmt.Sprintf("%v %s", at, fmt.Sprintf(format, args...)))
}

func inBubble(t *testing.T, script func(*testing.T, *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{notices: make(chan Notice), start: time.Now()}
		b.network.Store("as before")
		loop := Loop{
			Notices: b.notices,
			Clocks: func() Reading {
				mono := time.Since(b.start)
				slept := time.Duration(b.slept.Load())
				return Reading{Mono: mono, Boot: mono + slept, Wall: b.start.Add(mono + slept)}
			},
			Fingerprint: func() string { return b.network.Load().(string) },
			Repair:      func(_ context.Context, force bool) { b.note("repair %v", force) },
			Failing:     func() bool { return false },
			Changed:     func(e netcfg.Event) { b.note("event %d", e) },
			InVain:      b.vain.Load,
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { loop.Run(ctx); close(done) }()
		synctest.Wait()
		script(t, b)
		cancel()
		<-done
	})
}

func (b *bench) expect(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.Equal(b.log, want) {
		t.Errorf("got  %q\nwant %q", b.log, want)
	}
	b.log = nil
}

func TestForeignChangesAreGathered(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		b.network.Store("another")
		for range 50 {
			b.notices <- Foreign
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(10 * time.Second)
		b.expect(t, "1s event 1", "1s repair false")
	})
}

func TestNoiseIsNoEvent(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		b.notices <- Foreign // the network is as before
		time.Sleep(10 * time.Second)
		b.expect(t)
	})
}

func TestOwnChangesAreRepairedSoon(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		for range 20 { // the first at once, the others as one
			b.notices <- Own
			time.Sleep(time.Millisecond)
		}
		time.Sleep(980 * time.Millisecond)
		b.expect(t, "0s repair false", "250ms repair false")
		b.notices <- Resolver // everything has to be sent again
		synctest.Wait()
		time.Sleep(time.Millisecond)
		b.notices <- Own
		time.Sleep(time.Second)
		b.expect(t, "1s repair true", "1.25s repair false")
	})
}

// TestUnfinishedChangesAreLeftAlone: what is done in steps is looked at when it
// should be done.
func TestUnfinishedChangesAreLeftAlone(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		b.notices <- Unfinished
		time.Sleep(10 * time.Millisecond)
		b.notices <- Unfinished
		time.Sleep(time.Second)
		b.expect(t, "250ms repair false")
		b.notices <- Unfinished
		b.notices <- Own // names or routes are away
		time.Sleep(time.Second)
		b.expect(t, "1.01s repair false")
	})
}

func TestFightIsLimited(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		end := time.Now().Add(30 * time.Second)
		for time.Now().Before(end) {
			b.notices <- Own
			time.Sleep(50 * time.Millisecond)
		}
		synctest.Wait()
		b.mu.Lock()
		defer b.mu.Unlock()
		// A burst of ten, and one in each of thirty seconds.
		if n := len(b.log); n < repairBurst+20 || n > repairBurst+31 {
			t.Errorf("%d repairs: %q", n, b.log)
		}
	})
}

// TestRepairsInVain: what follows from our own changes does not use up what is
// there for those of others.
func TestRepairsInVain(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		b.vain.Store(true)
		for range 100 {
			b.notices <- Own
			time.Sleep(300 * time.Millisecond)
		}
		synctest.Wait()
		b.mu.Lock()
		defer b.mu.Unlock()
		if n := len(b.log); n != 100 {
			t.Errorf("%d repairs: %q", n, b.log)
		}
	})
}

func TestAudit(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		time.Sleep(2*time.Minute + time.Second)
		b.expect(t, "1m0s repair false", "2m0s repair false")
	})
}

func TestWakeSendsAll(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		time.Sleep(7 * time.Second)
		b.slept.Store(int64(8 * time.Hour))
		time.Sleep(20 * time.Second)
		b.expect(t, "10s event 2", "10s repair true")
	})
}

// TestWakeIsToldOnce: the system's word comes before the clocks are read, and a
// repair that is due anyway is not waited for.
func TestWakeIsToldOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		time.Sleep(7 * time.Second)
		b.slept.Store(int64(8 * time.Hour))
		for range 2 {
			b.notices <- Own
			time.Sleep(time.Millisecond)
		}
		b.notices <- Wake
		time.Sleep(20 * time.Second)
		b.expect(t, "7s repair false", "7.002s event 2", "7.002s repair true")
	})
}

func TestWakeBetween(t *testing.T) {
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	before := Reading{Mono: time.Hour, Boot: 2 * time.Hour, Wall: noon}
	tests := []struct {
		name             string
		mono, boot, wall time.Duration
		woke             bool
	}{
		{"awake", 5 * time.Second, 5 * time.Second, 5 * time.Second, false},
		{"late", 20 * time.Second, 20 * time.Second, 20 * time.Second, false},
		{"suspended", 5 * time.Second, time.Hour, time.Hour, true},
		{"suspended for two seconds", 5 * time.Second, 7 * time.Second, 7 * time.Second, true},
		{"virtual machine paused", 5 * time.Second, 5 * time.Second, time.Hour, true},
		{"process frozen", time.Hour, time.Hour, time.Hour, true},
		{"clock corrected", 5 * time.Second, 5 * time.Second, 7 * time.Second, false},
		{"clock put back", 5 * time.Second, 5 * time.Second, -time.Hour, false},
	}
	for _, test := range tests {
		after := Reading{Mono: before.Mono + test.mono, Boot: before.Boot + test.boot, Wall: noon.Add(test.wall)}
		if woke := wakeBetween(before, after, clockInterval); woke != test.woke {
			t.Errorf("%s: %v", test.name, woke)
		}
	}
}

// TestRetry: after a failure 1, 2, 4, 8 and then each 12 ticks, and from the
// beginning after a success.
func TestRetry(t *testing.T) {
	var again retry
	var at []int
	for tick := 1; tick <= 40; tick++ {
		if again.due(true) {
			at = append(at, tick)
		}
	}
	if want := []int{1, 3, 7, 15, 27, 39}; !slices.Equal(at, want) {
		t.Errorf("due at %v, want %v", at, want)
	}
	if again.due(false) || !again.due(true) {
		t.Error("a success does not begin again")
	}
}
