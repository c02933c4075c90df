// Package limit bounds how often somebody may try something, and says who that
// somebody is on the net.
package limit

import (
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Meter counts attempts by account, by address or by both. Each key may have a
// burst of them at once, and one more in each interval: it is a bucket that never
// stays empty, so nobody is locked out for good. It is safe for concurrent use.
type Meter[K comparable] struct {
	every time.Duration
	burst int
	most  int

	mu   sync.Mutex
	full map[K]time.Time // when the key's bucket will be full again
}

// NewMeter allows a burst, and one more in each interval. It remembers so many
// keys; those that have used the least are forgotten first.
func NewMeter[K comparable](burst int, every time.Duration, most int) *Meter[K] {
	return &Meter[K]{every: every, burst: burst, most: most, full: map[K]time.Time{}}
}

// Wait is how long a key has to wait for its next attempt, zero for not at all.
func (m *Meter[K]) Wait(key K, now time.Time) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.wait(key, now)
}

func (m *Meter[K]) wait(key K, now time.Time) time.Duration {
	full, known := m.full[key]
	if !known {
		return 0
	}
	room := time.Duration(m.burst-1) * m.every
	return max(0, full.Sub(now)-room)
}

// Take uses one attempt, or says how long to wait for it.
func (m *Meter[K]) Take(key K, now time.Time) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	if wait := m.wait(key, now); wait > 0 {
		return wait
	}
	full, known := m.full[key]
	if !known {
		m.makeRoom(now)
	}
	if full.Before(now) {
		full = now
	}
	m.full[key] = full.Add(m.every)
	return 0
}

// Return gives back an attempt that was none.
func (m *Meter[K]) Return(key K) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if full, known := m.full[key]; known {
		m.full[key] = full.Add(-m.every)
	}
}

// makeRoom forgets whoever has nothing to be remembered for, and if that is not
// enough the half that has used the least: a flood of keys with one attempt each
// does not free one with many.
func (m *Meter[K]) makeRoom(now time.Time) {
	if len(m.full) < m.most {
		return
	}
	maps.DeleteFunc(m.full, func(_ K, full time.Time) bool { return !full.After(now) })
	if len(m.full) < m.most {
		return
	}
	keys := slices.SortedFunc(maps.Keys(m.full), func(a, b K) int { return m.full[a].Compare(m.full[b]) })
	for _, key := range keys[:(len(keys)+1)/2] {
		delete(m.full, key)
	}
}

// Address is who has connected: the client, or a proxy in front of us. Of IPv6
// it is the /64, as one machine has all of that.
func Address(r *http.Request) netip.Prefix {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Prefix{}
	}
	addr, bits := from.Addr().Unmap().WithZone(""), 32
	if addr.Is6() {
		bits = 64
	}
	return netip.PrefixFrom(addr, bits).Masked()
}
