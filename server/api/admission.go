package api

import (
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/time/rate"
)

const (
	// admissionRate is how many upgrades a second the server takes for long:
	// the same as it asks clients to come back at.
	admissionRate = returnRate
	// admissionBurst is for a team that comes to work at once.
	admissionBurst = 300
	// admissionStart is what a server that has just started takes at once: the
	// clients of one that was killed all come within the same moment.
	admissionStart = 20
	// holderRate and holderBurst bound the upgrades of one account, so that a
	// client in a loop takes nobody's place.
	holderRate  = 20
	holderBurst = 100
	// failureRate and failureBurst bound the wrong tokens that are answered in
	// full to one address. A good token is always taken: whoever sits behind the
	// same proxy must not be locked out.
	failureRate  = 2
	failureBurst = 120
	// bucketLimit bounds how many accounts and addresses are remembered.
	bucketLimit = 1 << 14
)

// admission holds back a storm of upgrades: it takes so many a second, and
// spreads those that it refuses over the time that it will need for them.
type admission struct {
	mu      sync.Mutex
	limiter *rate.Limiter
	next    time.Time // when the next one that is refused is to come back
}

func newAdmission(now time.Time) *admission {
	limiter := rate.NewLimiter(admissionRate, admissionBurst)
	limiter.AllowN(now, admissionBurst-admissionStart)
	return &admission{limiter: limiter}
}

// admit gives zero to take an upgrade, or the time after which it is to be
// tried again.
func (a *admission) admit(now time.Time) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.limiter.AllowN(now, 1) {
		return 0
	}
	if a.next.Before(now) {
		a.next = now
	}
	if a.next.Sub(now) < returnLimit {
		a.next = a.next.Add(time.Second / admissionRate)
	}
	return a.next.Sub(now)
}

// buckets limit the rate of something by account or address.
type buckets[K comparable] struct {
	rate  rate.Limit
	burst int

	mu   sync.Mutex
	byID map[K]*rate.Limiter
}

func newBuckets[K comparable](each rate.Limit, burst int) *buckets[K] {
	return &buckets[K]{rate: each, burst: burst, byID: map[K]*rate.Limiter{}}
}

// allow takes one from a bucket if it has one.
func (b *buckets[K]) allow(id K, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	limiter := b.byID[id]
	if limiter == nil {
		b.makeRoom(now)
		limiter = rate.NewLimiter(b.rate, b.burst)
		b.byID[id] = limiter
	}
	return limiter.AllowN(now, 1)
}

// makeRoom forgets full buckets, and if there are too many even so all of them.
func (b *buckets[K]) makeRoom(now time.Time) {
	if len(b.byID) < bucketLimit {
		return
	}
	for id, limiter := range b.byID {
		if limiter.TokensAt(now) >= float64(b.burst) {
			delete(b.byID, id)
		}
	}
	if len(b.byID) >= bucketLimit {
		clear(b.byID)
	}
}

// admit says whether the holder of a token may upgrade a connection now.
func (s *Server) admit(holder uuid.UUID) error {
	now := time.Now()
	if !s.holders.allow(holder, now) {
		rejection := reject(http.StatusTooManyRequests, "Too many connections in a short time.", fmt.Sprintf("One account may open %d a second.", holderRate))
		rejection.retry = time.Second
		return rejection
	}
	if wait := s.storm.admit(now); wait > 0 {
		rejection := reject(http.StatusServiceUnavailable, "The server is busy with many connections at once.", "Try again in a moment.")
		rejection.retry = wait
		return rejection
	}
	return nil
}
