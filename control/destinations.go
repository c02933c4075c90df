package control

import (
	"maps"
	"slices"
	"sync"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/workspace"
)

// Destinations is the set of agents that the client holds tunnels to. It
// outlives connections: each new one is told the whole set again. It is safe
// for concurrent use.
type Destinations struct {
	mu   sync.Mutex
	ids  map[uuid.UUID]struct{}
	data Coordinatee // of the present or the last connection
	out  *outbox     // of the present connection; nil between two
}

// NewDestinations makes a set with these members.
func NewDestinations(ids ...uuid.UUID) *Destinations {
	d := &Destinations{ids: map[uuid.UUID]struct{}{}}
	for _, id := range ids {
		d.ids[id] = struct{}{}
	}
	return d
}

// Add puts one agent into the set.
func (d *Destinations) Add(id uuid.UUID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.add(id)
}

// Remove takes one agent out of the set.
func (d *Destinations) Remove(id uuid.UUID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.remove(id)
}

// Sync makes the set equal to ids: additions first, then removals.
func (d *Destinations) Sync(ids []uuid.UUID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	wanted := make(map[uuid.UUID]struct{}, len(ids))
	for _, id := range ids {
		wanted[id] = struct{}{}
		d.add(id)
	}
	for _, id := range slices.Collect(maps.Keys(d.ids)) {
		if _, keep := wanted[id]; !keep {
			d.remove(id)
		}
	}
}

// follow makes the set follow a change of what exists: additions first.
func (d *Destinations) follow(diff workspace.Diff) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, agent := range diff.UpsertedAgents {
		d.add(agent.ID)
	}
	for _, agent := range diff.DeletedAgents {
		d.remove(agent.ID)
	}
}

func (d *Destinations) add(id uuid.UUID) {
	if _, present := d.ids[id]; present {
		return
	}
	d.ids[id] = struct{}{}
	d.tell(id)
}

func (d *Destinations) remove(id uuid.UUID) {
	if _, present := d.ids[id]; !present {
		return
	}
	delete(d.ids, id)
	if d.data != nil {
		d.data.ClearTunnelDestination(id)
	}
	if d.out != nil {
		d.out.removeTunnel(id)
	}
}

// tell marks the destination in the data plane before the control plane hears
// of it, so that the first node update already finds the mark.
func (d *Destinations) tell(id uuid.UUID) {
	if d.out == nil {
		return
	}
	d.data.SetTunnelDestination(id)
	d.out.addTunnel(id)
}

// attach tells a new connection the whole set.
func (d *Destinations) attach(out *outbox, data Coordinatee) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.out, d.data = out, data
	for id := range d.ids {
		d.tell(id)
	}
}

func (d *Destinations) detach() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.out = nil
}
