package signin

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"net/netip"
	"sync"
	"time"

	"github.com/causewayhq/causeway/server/store"
)

const (
	// deviceLife and pollInterval are of D4, and the example of RFC 8628, 3.2.
	deviceLife   = 10 * time.Minute
	pollInterval = 5 * time.Second
	// slowDown is what RFC 8628, 3.5 adds to the interval of who asks too often.
	slowDown = 5 * time.Second
	// slowest bounds the sum of those.
	slowest = time.Minute
	// pollGrace is for the net, which does not deliver in even steps.
	pollGrace = time.Second
	// afterlife is how long an expired device code is known, to be told so.
	afterlife = time.Minute
	// codeLife is how long a redirect may take; RFC 6749, 4.1.2 allows 10 minutes.
	codeLife = time.Minute
	// codeMemory is how long a code that was used is known, to notice a replay.
	codeMemory = 10 * time.Minute
	// devicesEach and devicesMost bound the device codes that wait, of one address
	// and of all: an office behind one address signs in together, and all of them
	// are under 3 MiB.
	devicesEach = 256
	devicesMost = 4096
	// codesEach and codesMost bound the authorization codes of one user and of all.
	codesEach = 32
	codesMost = 4096
	// userCodeLength gives 34 bits, as the example of RFC 8628, 6.1: against 4,096
	// codes that wait, a guess finds one in six million.
	userCodeLength = 8
	// sweepStep is how often what has ended is looked for.
	sweepStep = time.Second
)

// digest is the key under which a code is kept.
type digest [sha256.Size]byte

func digestOf(code string) digest { return sha256.Sum256([]byte(code)) }

// newCode is 256 random bits, as text that needs no escape.
func newCode() string {
	random := make([]byte, 32)
	rand.Read(random)
	return base64.RawURLEncoding.EncodeToString(random)
}

// decision is what the user has said about a device.
type decision int

const (
	undecided decision = iota
	approved
	denied
)

// deviceGrant is a device that asks for a token.
type deviceGrant struct {
	device, user digest // of its two codes
	name         string // as the device calls itself
	from         string // its address, for people
	address      netip.Prefix
	asked        time.Time
	expires      time.Time

	interval time.Duration
	polled   time.Time

	decision decision
	owner    store.Proof // who has approved
}

// codeGrant is an authorization code, on its way through the browser.
type codeGrant struct {
	owner     store.Proof
	name      string
	redirect  string
	challenge string
	issued    time.Time

	mu    sync.Mutex // held while the token is made: a replay waits for it
	dead  bool
	token string // id of the token that came of it
}

// grants is what waits for a decision or an exchange.
type grants struct {
	mu      sync.Mutex
	devices map[digest]*deviceGrant // by device code
	asking  map[digest]*deviceGrant // by user code, undecided only
	waiting map[netip.Prefix]int
	codes   map[digest]*codeGrant
	swept   time.Time
}

func newGrants() *grants {
	return &grants{
		devices: map[digest]*deviceGrant{}, asking: map[digest]*deviceGrant{}, waiting: map[netip.Prefix]int{}, codes: map[digest]*codeGrant{},
	}
}

// sweep forgets what has ended. The caller holds the lock.
func (g *grants) sweep(now time.Time) {
	if now.Sub(g.swept) < sweepStep {
		return
	}
	g.swept = now
	for _, grant := range g.devices {
		if now.Sub(grant.expires) >= afterlife {
			g.forget(grant)
		}
	}
	maps.DeleteFunc(g.codes, func(_ digest, grant *codeGrant) bool { return now.Sub(grant.issued) >= codeMemory })
}

// forget drops a device's grant. The caller holds the lock.
func (g *grants) forget(grant *deviceGrant) {
	delete(g.devices, grant.device)
	delete(g.asking, grant.user)
	if g.waiting[grant.address]--; g.waiting[grant.address] <= 0 {
		delete(g.waiting, grant.address)
	}
}

// addDevice makes the codes of a device that asks, or says that too many do: of
// its address or of all.
func (g *grants) addDevice(name, from string, address netip.Prefix, now time.Time) (deviceCode, userCode string, problem *oauthError) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sweep(now)
	if g.waiting[address] >= devicesEach {
		return "", "", errTooManyHere
	}
	if len(g.devices) >= devicesMost {
		return "", "", errTooMany
	}
	deviceCode, userCode = newCode(), store.NewCode(userCodeLength)
	grant := &deviceGrant{
		device: digestOf(deviceCode), user: digestOf(store.NormalizeCode(userCode, userCodeLength)), name: name, from: from, address: address,
		asked: now, expires: now.Add(deviceLife), interval: pollInterval,
	}
	for g.asking[grant.user] != nil { // one in six million
		userCode = store.NewCode(userCodeLength)
		grant.user = digestOf(store.NormalizeCode(userCode, userCodeLength))
	}
	g.devices[grant.device], g.asking[grant.user] = grant, grant
	g.waiting[address]++
	return deviceCode, userCode, nil
}

// asker finds the device that shows a user code and has no answer yet. What it
// returns is a copy.
func (g *grants) asker(typed string, now time.Time) (deviceGrant, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	grant := g.undecided(typed, now)
	if grant == nil {
		return deviceGrant{}, false
	}
	return *grant, true
}

func (g *grants) undecided(typed string, now time.Time) *deviceGrant {
	code := store.NormalizeCode(typed, userCodeLength)
	grant := g.asking[digestOf(code)]
	if code == "" || grant == nil || !now.Before(grant.expires) {
		return nil
	}
	return grant
}

// decide answers a device. Its user code is worth nothing afterwards.
func (g *grants) decide(typed string, what decision, owner store.Proof, now time.Time) (deviceGrant, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	grant := g.undecided(typed, now)
	if grant == nil {
		return deviceGrant{}, false
	}
	grant.decision, grant.owner = what, owner
	delete(g.asking, grant.user)
	return *grant, true
}

// poll takes the answer to a device code, once: of two that ask at the same time
// one gets it.
func (g *grants) poll(deviceCode string, now time.Time) (*deviceGrant, *oauthError) {
	g.mu.Lock()
	defer g.mu.Unlock()
	grant := g.devices[digestOf(deviceCode)]
	switch {
	case grant == nil:
		return nil, errDeviceCode
	case !now.Before(grant.expires):
		g.forget(grant)
		return nil, errExpired
	case grant.decision == denied:
		g.forget(grant)
		return nil, errDenied
	case grant.decision == approved:
		g.forget(grant)
		return grant, nil
	}
	early := !grant.polled.IsZero() && now.Sub(grant.polled) < grant.interval-pollGrace
	grant.polled = now
	if early {
		grant.interval = min(grant.interval+slowDown, slowest)
		return nil, errSlowDown
	}
	return nil, errPending
}

// putBack returns what poll has taken, when no token could be made of it.
func (g *grants) putBack(grant *deviceGrant) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.devices[grant.device] = grant
	g.waiting[grant.address]++
}

// addCode makes an authorization code.
func (g *grants) addCode(grant *codeGrant) (string, *oauthError) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sweep(grant.issued)
	own := 0
	for _, other := range g.codes {
		if other.owner.User.ID == grant.owner.User.ID && grant.issued.Sub(other.issued) < codeLife {
			own++
		}
	}
	if own >= codesEach || len(g.codes) >= codesMost {
		return "", errTooMany
	}
	code := newCode()
	g.codes[digestOf(code)] = grant
	return code, nil
}

// code finds an authorization code, used ones included.
func (g *grants) code(code string) *codeGrant {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.codes[digestOf(code)]
}
