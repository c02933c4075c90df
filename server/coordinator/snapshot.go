package coordinator

import (
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Snapshot is the coordinator's state at one instant, for a debug page. It
// holds no keys and no addresses.
type Snapshot struct {
	Peers      []PeerSnapshot `json:"peers"`
	Tunnels    int            `json:"tunnels"`
	Overwrites uint64         `json:"overwrites"` // connections that took over an older one of their id
	TooSlow    uint64         `json:"too_slow"`   // peers removed because they did not read
	Lost       int            `json:"lost"`       // lost peers that the relay still serves
}

// PeerSnapshot is one connected peer.
type PeerSnapshot struct {
	ID        uuid.UUID `json:"id"`
	Name      string    `json:"name"`
	Class     string    `json:"class"` // agent, client or trusted
	Connected time.Time `json:"connected"`
	Updated   time.Time `json:"updated"` // zero before the first node
	Tunnels   int       `json:"tunnels"` // opened by this peer
	Partners  int       `json:"partners"`
	Queued    int       `json:"queued"`
}

// Snapshot takes time in proportion to the number of peers and tunnels, under
// the lock: it is for people, not for polling.
func (c *Coordinator) Snapshot() Snapshot {
	c.mu.Lock()
	defer c.mu.Unlock()
	result := Snapshot{Overwrites: c.overwrites, TooSlow: c.tooSlow, Peers: make([]PeerSnapshot, 0, len(c.peers))}
	for _, partners := range c.links {
		for _, l := range partners {
			if l.out {
				result.Tunnels++
			}
		}
	}
	for _, claim := range c.permits.byID {
		if !claim.live {
			result.Lost++
		}
	}
	for id, s := range c.peers {
		entry := PeerSnapshot{
			ID: id, Name: s.name, Class: s.class.String(), Connected: s.since, Updated: s.updated,
			Partners: len(c.links[id]), Queued: s.queued(),
		}
		for _, l := range c.links[id] {
			if l.out {
				entry.Tunnels++
			}
		}
		result.Peers = append(result.Peers, entry)
	}
	slices.SortFunc(result.Peers, func(a, b PeerSnapshot) int { return strings.Compare(a.ID.String(), b.ID.String()) })
	return result
}
