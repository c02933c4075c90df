package tunnel

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/causewayhq/causeway/netcfg"
)

// flushing is a host with a cache of names: while it is full of old answers its
// resolver does not find ours.
type flushing struct {
	*host
	flushes int
	applied int // by the time of the last one
	fails   error
}

func (f *flushing) FlushNames(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.flushes++
	f.applied = len(f.host.applied)
	f.deaf = f.deaf && f.fails != nil
	return f.fails
}

func TestRepairNames(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := barePlane()
		network := servePipes(t, p)
		r := newBubbleRig(t, p, network, t.TempDir())
		cache := &flushing{host: r.host}
		r.config.OS = cache
		if _, err := r.RepairNames(t.Context(), false); !errors.Is(err, ErrNotRunning) {
			t.Errorf("without a data plane: %v", err)
		}
		end := r.until()
		r.waitState(Connected)
		applied := func() int {
			r.host.mu.Lock()
			defer r.host.mu.Unlock()
			return len(r.host.applied)
		}
		change := func(what func()) {
			r.host.mu.Lock()
			defer r.host.mu.Unlock()
			what()
		}
		before := applied()
		change(func() { r.host.deaf = true })
		if ok, err := r.RepairNames(t.Context(), true); !ok || err != nil || cache.flushes != 1 || applied() != before {
			t.Errorf("flush: %v, %v, %d flushes, applied %d times", ok, err, cache.flushes, applied()-before)
		}
		change(func() { r.host.deaf, r.host.mends, cache.fails = true, true, errors.New("bus is away") })
		ok, err := r.RepairNames(t.Context(), false)
		if !ok || err == nil || !strings.Contains(err.Error(), "empty the system's cache of names: bus is away") || applied() != before+1 {
			t.Errorf("repair: %v, %v, applied %d times", ok, err, applied()-before)
		}
		if cache.applied != before+1 {
			t.Error("the cache was emptied before names were put right: it may have learnt something wrong meanwhile")
		}
		change(func() { r.host.deaf, r.host.mends, r.host.fail = true, false, errors.New("no permission") })
		ok, err = r.RepairNames(t.Context(), false)
		if ok || err == nil || !strings.Contains(err.Error(), "no permission") || !strings.Contains(err.Error(), "no such host") {
			t.Errorf("what cannot be repaired: %v, %v", ok, err)
		}
		if r.Status().CanaryOK {
			t.Error("the status has names answering")
		}
		// Who asks while it ends is not left waiting.
		change(func() { r.host.slow = time.Second })
		asked := make(chan error, 1)
		go func() {
			_, err := r.RepairNames(t.Context(), true)
			asked <- err
		}()
		if err := end(nil); err != nil && !errors.Is(err, ErrHost) {
			t.Error(err)
		}
		if err := <-asked; err == nil {
			t.Error("asked while it ended: no error")
		}
	})
}

// alone is a host on which nothing else is applied meanwhile.
type alone struct {
	*host
	inside, overlaps atomic.Int32
}

func (a *alone) Apply(ctx context.Context, want netcfg.Config) error {
	if a.inside.Add(1) > 1 {
		a.overlaps.Add(1)
	}
	defer a.inside.Add(-1)
	time.Sleep(50 * time.Millisecond) // of the bubble
	return a.host.Apply(ctx, want)
}

// TestAppliesTakeTurns: a repair that has taken down what was wanted is not
// overtaken by a newer wish, which it would undo.
func TestAppliesTakeTurns(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := barePlane()
		network := servePipes(t, p)
		r := newBubbleRig(t, p, network, t.TempDir())
		one := &alone{host: r.host}
		r.config.OS = one
		end := r.until()
		r.waitState(Connected)
		for range 5 {
			r.host.mu.Lock()
			changed := r.host.changed
			r.host.mu.Unlock()
			changed(netcfg.NetworkChanged)
			if _, err := r.RepairNames(t.Context(), false); err != nil {
				t.Error(err)
			}
		}
		if n := one.overlaps.Load(); n > 0 {
			t.Errorf("applied side by side %d times", n)
		}
		if err := end(nil); err != nil {
			t.Error(err)
		}
	})
}
