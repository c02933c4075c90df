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
	// holderRate and holderBurst bound the upgrades with the tokens of one user or
	// one agent, so that a client in a loop takes nobody's place.
	holderRate  = 20
	holderBurst = 100
	// accountRate and accountBurst bound those of a user and of all agents that it
	// owns: half of what the server takes, so that no account takes the place of
	// the others, and 1,000 agents of one account are back within about 10 s.
	accountRate  = admissionRate / 2
	accountBurst = 200
	// failureRate and failureBurst bound the wrong tokens that are answered in
	// full to one address. A good token is always taken: whoever sits behind the
	// same proxy must not be locked out.
	failureRate  = 2
	failureBurst = 120
	// bucketLimit bounds how many accounts and addresses are remembered.
	bucketLimit = 1 << 14
)

// admission holds back a storm: it takes so many a second, and spreads those that
// it refuses over the time that it will need for them.
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
		a.next = a.next.Add(time.Duration(float64(time.Second) / float64(a.limiter.Limit())))
	}
	return a.next.Sub(now)
}

// buckets limit the rate of something by account or address.
type buckets[K comparable] struct {
	rate  rate.Limit
	burst int

	mu   sync.Mutex
	byID map[K]*admission
}

func newBuckets[K comparable](each rate.Limit, burst int) *buckets[K] {
	return &buckets[K]{rate: each, burst: burst, byID: map[K]*admission{}}
}

// admit takes one from a bucket and gives zero, or the time after which it is to
// be tried again.
func (b *buckets[K]) admit(id K, now time.Time) time.Duration {
	b.mu.Lock()
	one := b.byID[id]
	if one == nil {
		b.makeRoom(now)
		one = &admission{limiter: rate.NewLimiter(b.rate, b.burst)}
		b.byID[id] = one
	}
	b.mu.Unlock()
	return one.admit(now)
}

// makeRoom forgets full buckets, and if there are too many even so all of them.
func (b *buckets[K]) makeRoom(now time.Time) {
	if len(b.byID) < bucketLimit {
		return
	}
	for id, one := range b.byID {
		if one.limiter.TokensAt(now) >= float64(b.burst) {
			delete(b.byID, id)
		}
	}
	if len(b.byID) >= bucketLimit {
		clear(b.byID)
	}
}

// admit says whether the holder of a token may upgrade a connection now; account
// is the user that it is, or that owns it.
func (s *Server) admit(holder, account uuid.UUID) error {
	now := time.Now()
	who, most := "user or agent", holderRate
	wait := s.holders.admit(holder, now)
	if wait == 0 {
		who, most = "account with all its agents", accountRate
		wait = s.accounts.admit(account, now)
	}
	if wait > 0 {
		rejection := reject(http.StatusTooManyRequests, "Too many connections in a short time.", fmt.Sprintf("One %s may open %d a second.", who, most))
		rejection.retry = wait
		return rejection
	}
	if wait := s.storm.admit(now); wait > 0 {
		rejection := reject(http.StatusServiceUnavailable, "The server is busy with many connections at once.", "Try again in a moment.")
		rejection.retry = wait
		return rejection
	}
	return nil
}
