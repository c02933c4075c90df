package tunnel

import (
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"
)

// TestInventory: another front hears of each change of what exists and of
// nothing else, knows a snapshot from a difference, and can wake and ping.
func TestInventory(t *testing.T) {
	p := newPlane(t)
	r := newRig(t, p, t.TempDir())
	if list := r.Inventory(); list.Known || len(list.Agents) != 0 || r.Wake() == nil {
		t.Errorf("before the start: %+v", list)
	}
	if _, err := r.PingAgent(t.Context(), uuid.New()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("ping before the start: %v", err)
	}
	r.start()
	r.waitState(Connected)
	first := r.Inventory()
	if !first.Known || first.Snapshots != 1 || len(first.Agents) != 1 || len(first.Workspaces) != 1 || first.Revision != r.Revision() || len(first.Agents[0].Names) != 3 {
		t.Fatalf("first: %+v", first)
	}
	r.note(func(f *facts) { f.canary.err = errors.New("something else") })
	if now := r.Revision(); now != first.Revision {
		t.Errorf("revision %d after a change of something else, it was %d", now, first.Revision)
	}
	p.updates <- snapshot("second", "other")
	eventually(t, "a second agent", func() bool { return len(r.Inventory().Agents) == 2 })
	second := r.Inventory()
	if second.Revision == first.Revision || second.Snapshots != first.Snapshots {
		t.Errorf("a difference: %+v", second)
	}
	p.drop() // and the next connection begins with a snapshot
	eventually(t, "a second snapshot", func() bool { return r.Inventory().Snapshots == first.Snapshots+1 })
	if third := r.Inventory(); third.Revision == second.Revision {
		t.Errorf("a snapshot: %+v", third)
	}
	if _, err := r.PingAgent(t.Context(), uuid.New()); !errors.Is(err, ErrUnknownName) {
		t.Errorf("ping nobody: %v", err)
	}
	began := time.Now()
	if _, err := r.PingAgent(t.Context(), first.Agents[0].ID); !errors.Is(err, ErrOffline) || time.Since(began) > announceLimit/2 {
		t.Errorf("ping who is not announced: %v after %v", err, time.Since(began))
	}
	if err := r.Wake(); err != nil {
		t.Error(err)
	}
	eventually(t, "new sockets", func() bool { return r.engine().rebindCount() > 0 })
}
