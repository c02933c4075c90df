package coordinator

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
	"tailscale.com/types/key"
)

const (
	// permitIdle is how long the pairs of a lost peer may go on through the
	// relay without using it: as long as partners keep a lost peer.
	permitIdle = 15 * time.Minute
	// permitLife is how long at most, also with traffic: the life of a resume
	// token, after which the peer could not come back as itself either.
	permitLife = 24 * time.Hour
	// lostLimit bounds how many lost peers are remembered. The rest lose their
	// relay until they announce themselves again.
	lostLimit = 1 << 16
	// pairLimit bounds their pairs with partners: about 80 bytes each, 20 MiB.
	pairLimit = 1 << 18
)

// permits says who may send whom a frame through the relay: tunnel partners,
// and those who were partners when one of them was lost, because a session must
// outlive the trouble of its control connection. All of it is under the
// coordinator's lock.
type permits struct {
	byKey  map[key.NodePublic][]*claim
	byID   map[uuid.UUID]*claim // newest claim of each peer
	lost   []*claim             // about in the order of loss; may hold claims that came back
	served served
}

// claim is a peer's word that a key is its own. The relay sees the proof. Of
// several claims to one key the first in rank holds it, so that nobody takes a
// key from a peer that is there.
type claim struct {
	id     uuid.UUID
	key    key.NodePublic
	agent  bool
	live   bool
	since  time.Time
	lostAt time.Time
	used   time.Time
	listed bool // is in the list of the lost, once
}

func (c *claim) expired(now time.Time) bool {
	return !c.live && (now.Sub(c.used) > permitIdle || now.Sub(c.lostAt) > permitLife)
}

// rank sorts claims to one key: those there before the lost, agents (whose id
// was authenticated) before clients, then the older.
func rank(a, b *claim) int {
	truth := func(x bool) int {
		if x {
			return 0
		}
		return 1
	}
	return cmp.Or(
		cmp.Compare(truth(a.live), truth(b.live)),
		cmp.Compare(truth(a.agent), truth(b.agent)),
		a.since.Compare(b.since),
	)
}

func (p *permits) holder(of key.NodePublic) *claim {
	claims := p.byKey[of]
	if len(claims) == 0 {
		return nil
	}
	return claims[0]
}

func (p *permits) drop(old *claim) {
	left := slices.DeleteFunc(p.byKey[old.key], func(other *claim) bool { return other == old })
	if len(left) == 0 {
		delete(p.byKey, old.key)
	} else {
		p.byKey[old.key] = left
	}
	if p.byID[old.id] == old {
		delete(p.byID, old.id)
	}
}

// revoke ends what a peer that is not connected any more was left with.
func (p *permits) revoke(id uuid.UUID) {
	p.served.drop(id)
	if old := p.byID[id]; old != nil && !old.live {
		p.drop(old)
	}
}

// remain says whether a peer that is not connected was left with anything.
func (p *permits) remain(id uuid.UUID) bool {
	return p.byID[id] != nil || p.served.byID[id] != nil
}

// claimKey notes that a peer announced this key.
func (c *Coordinator) claimKey(s *Stream, raw []byte) {
	var announced key.NodePublic
	if len(raw) == 0 || announced.UnmarshalBinary(raw) != nil || announced.IsZero() {
		announced = key.NodePublic{}
	}
	p := &c.permits
	current := p.byID[s.id]
	if current != nil && current.key != announced {
		p.drop(current)
		current = nil
	}
	s.key = announced
	if announced.IsZero() {
		return
	}
	if current == nil {
		current = &claim{id: s.id, key: announced, since: time.Now()}
		p.byID[s.id] = current
		p.byKey[announced] = append(p.byKey[announced], current)
	}
	current.live, current.agent = true, s.class == classAgent
	slices.SortStableFunc(p.byKey[announced], rank)
}

// leavePermits is called while the links of a leaving peer still exist.
func (c *Coordinator) leavePermits(s *Stream, lost bool) {
	p := &c.permits
	current := p.byID[s.id]
	if current == nil || !current.live {
		return
	}
	if !lost {
		p.drop(current)
		return
	}
	now := time.Now()
	p.served.add(s.id, maps.Keys(c.links[s.id]), now)
	current.live, current.lostAt, current.used = false, now, now
	slices.SortStableFunc(p.byKey[current.key], rank)
	if !current.listed {
		current.listed = true
		p.lost = append(p.lost, current)
	}
	p.sweep(now)
}

// sweep drops the expired from the front of the list, where the oldest are, and
// the oldest of too many. What traffic keeps alive moves to the back.
func (p *permits) sweep(now time.Time) {
	for range len(p.lost) {
		first := p.lost[0]
		overdue := first.expired(now) || len(p.lost) > lostLimit
		stays := false
		switch {
		case first.live || p.byID[first.id] != first:
			// Came back, or was replaced and dropped.
		case overdue:
			p.drop(first)
		case now.Sub(first.lostAt) > permitIdle:
			stays = true
		default:
			return
		}
		p.lost = p.lost[1:]
		if first.listed = stays; stays {
			p.lost = append(p.lost, first)
		}
	}
}

// MayRelay says whether the relay may carry frames from the holder of one key
// to the holder of another: whether a tunnel connects them, in either
// direction, or did when one of them was lost. The answer ends with the
// tunnel; a caller may keep it for a second or so.
func (c *Coordinator) MayRelay(src, dst key.NodePublic) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	from, to := c.permits.holder(src), c.permits.holder(dst)
	if from == nil || to == nil {
		return false
	}
	now := time.Now()
	if from.expired(now) || to.expired(now) {
		return false
	}
	allowed := c.links[from.id][to.id] != nil
	if !allowed {
		allowed = c.permits.served.has(from.id, to.id, now) || c.permits.served.has(to.id, from.id, now)
	}
	if allowed {
		from.used, to.used = now, now
	}
	return allowed
}

// KnowsKey says whether a peer that is connected, or was until lately, claims
// this key.
func (c *Coordinator) KnowsKey(k key.NodePublic) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	holder := c.permits.holder(k)
	return holder != nil && !holder.expired(time.Now())
}

// Lingers says whether a peer that is not connected may still be served by its
// partners: whether Forget would change anything.
func (c *Coordinator) Lingers(id uuid.UUID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.peers[id] == nil && c.permits.remain(id)
}
