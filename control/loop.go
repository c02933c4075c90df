package control

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/tailnetv2"
	"github.com/causewayhq/causeway/workspace"
)

// Coordinatee is the data plane, as far as coordination is concerned.
type Coordinatee interface {
	// UpdatePeers applies one batch of news about peers. Its error tells of
	// those that were skipped, and is only logged.
	UpdatePeers([]*tailnetv2.CoordinateResponse_PeerUpdate) error
	// SetAllPeersLost marks every peer as lost: kept, and timed out later.
	SetAllPeersLost()
	// SetNodeCallback installs the receiver of the own node, which is called
	// again at once when a node is known.
	SetNodeCallback(func(*tailnetv2.Node))
	// SetTunnelDestination marks a peer that we open the tunnel to.
	SetTunnelDestination(uuid.UUID)
	// ClearTunnelDestination takes the mark away: the agent is no longer ours to
	// reach.
	ClearTunnelDestination(uuid.UUID)
}

// Loop keeps one connection to the control plane. The fields are set before
// Run and not changed after it; only Dialer and Coordinatee are required. The
// API version that is asked for is the lowest that has what the fields need.
// All callbacks come from goroutines of the loop, which waits for them.
type Loop struct {
	Dialer      *Dialer
	Logger      *slog.Logger // nil: nothing is logged
	Coordinatee Coordinatee
	// Acks makes the loop acknowledge nodes of peers; agents only.
	Acks bool
	// Prepare runs on each new connection before everything else, for example
	// to fetch the agent's manifest; it may set Coordinatee. Its error ends
	// the connection.
	Prepare func(context.Context, *Conn) error
	// Extra runs beside the controllers and shares their fate: when it ends,
	// the connection ends. Its context ends with the connection, and in the
	// graceful end only after the disconnect was said; after Leave it goes on.
	Extra func(context.Context, *Conn) error
	// RelayMap gets each relay map, embedded relays already pointed at the
	// access URL. Nil: none is asked for.
	RelayMap func(proto.RelayMap)
	// Destinations are the agents to hold tunnels to. With Workspaces set the
	// loop syncs them to all agents of the owner. Nil: a set of the loop's own.
	Destinations *Destinations
	// Workspaces gets the state after each message that changed it, which is
	// never changed itself, and what changed. An error is only logged. Nil: updates are not asked for.
	Workspaces func(*workspace.State, workspace.Diff) error
	// Known is the state that is carried over from an earlier process; the
	// first snapshot replaces it.
	Known *workspace.State
	// OwnerID is the user whose workspaces are asked for.
	OwnerID uuid.UUID
	// Resume is the token of an earlier process, and ResumeChanged gets each
	// new one, to be persisted. Both may be left out; then tokens are kept in
	// memory, when the version has them.
	Resume        ResumeToken
	ResumeChanged func(ResumeToken)
	// Telemetry carries events over each connection. Nil: none are sent.
	Telemetry *Telemetry
	// Connected hears of each change, and of each failed dial: true once the
	// control plane has answered, false with the reason. A reason that
	// matches ErrSignedOut needs the user.
	Connected func(bool, error)
	// Wish is a version with more in it than the fields need, for Extra, and asked
	// for first at each dial; a control plane that is older is asked for the
	// lowest. Zero: the lowest at once.
	Wish proto.Version
	// Floor is the shortest wait before a dial. Zero: 50 ms.
	Floor time.Duration
	// Retry hears when the next dial will be, just before Connected hears of
	// what ended the last; the zero time when it begins.
	Retry func(time.Time)

	once      sync.Once
	dialer    Dialer // with the version that the fields need
	first     firstDial
	kicked    chan struct{}
	resume    resumeStore
	backoff   backoff
	rivals    rivals
	farewells farewells
	state     *workspace.State
}

// ErrHandover is the cause of a context's end after which another loop goes on
// with the same resume token: the control plane is not told that we leave, so
// that no peer drops us.
var ErrHandover = errors.New("handed over to the next process")

// Run dials, and dials again, until the context ends; it returns the
// context's error, after a graceful disconnect unless it hands over.
func (l *Loop) Run(ctx context.Context) error {
	l.init()
	defer l.first.settle(nil)
	for ctx.Err() == nil {
		wait := l.attempt(ctx)
		if ctx.Err() != nil {
			break
		}
		l.pause(ctx, wait)
		l.retry(time.Time{})
	}
	return ctx.Err()
}

// Kick makes the loop act at once: a wait is cut short, a dial that hangs is
// begun anew, a connection is probed. It is called when the network changed,
// the host woke, or the user asks. It may be called at any time.
func (l *Loop) Kick() {
	l.init()
	select {
	case l.kicked <- struct{}{}:
	default:
	}
}

func (l *Loop) init() {
	l.once.Do(func() {
		l.kicked, l.first.done = make(chan struct{}, 1), make(chan struct{})
		l.dialer = *l.Dialer
		if l.dialer.Version == (proto.Version{}) {
			l.dialer.Version = l.version()
		}
		if l.Logger == nil {
			l.Logger = slog.New(slog.DiscardHandler)
		}
		if l.Destinations == nil {
			l.Destinations = NewDestinations()
		}
		l.state = &workspace.State{}
		if l.Known != nil {
			l.state = l.Known
		}
		l.resume = resumeStore{token: l.Resume, changed: l.ResumeChanged}
		l.backoff.floor = l.Floor
	})
}

// attempt is one dial and, if it succeeds, the whole life of the connection.
// It says how long to wait before the next.
func (l *Loop) attempt(ctx context.Context) time.Duration {
	began := time.Now()
	conn, err := l.dial(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return 0
		}
		l.first.settle(err)
		l.Logger.Warn("control plane not reached", slog.String("error", err.Error()))
		return l.failed(err, l.wait(err, time.Since(began)))
	}
	s := &session{loop: l, conn: conn, log: l.Logger}
	err = s.run(ctx)
	if ctx.Err() != nil {
		l.report(false, nil)
		return 0
	}
	l.first.settle(nil)
	if s.proved.Load() && s.told.Load() == nil {
		l.backoff.reset()
	}
	level := slog.LevelWarn
	if errors.Is(err, errMisuse) {
		level = LevelCritical
	}
	l.Logger.LogAttrs(ctx, level, "control connection ended", slog.String("error", err.Error()))
	return l.failed(err, l.wait(err, 0))
}

// failed tells of an attempt that ended, and gives back the wait for the next.
func (l *Loop) failed(err error, wait time.Duration) time.Duration {
	l.retry(time.Now().Add(wait))
	l.report(false, err)
	return wait
}

func (l *Loop) retry(at time.Time) {
	if l.Retry != nil {
		l.Retry(at)
	}
}

// wait is how long to pause after an attempt that ended so: as long as the
// control plane asks for, or else by the backoff, which a hint leaves alone.
func (l *Loop) wait(err error, attempt time.Duration) time.Duration {
	var refused *DialError
	var told *toldError
	switch {
	case errors.Is(err, ErrSignedOut):
		return signedOutWait
	case errors.As(err, &refused) && refused.hint > 0:
		// The same whole seconds are told to everybody: spread them.
		return refused.hint + rand.N(time.Second)
	case errors.As(err, &told) && told.hint > 0:
		return told.hint
	case errors.Is(err, ErrReplaced):
		return max(l.backoff.next(attempt), l.rivals.replaced(time.Now()))
	}
	return l.backoff.next(attempt)
}

// hangs is how old a dial must be for a Kick to give it up: its first packets
// are probably lost, and a new dial is faster than their repetition. A younger
// one gets the rest of the time. Each one that is given up doubles it for the
// next, so that events which never end cannot end every dial of a slow network.
const hangs = 300 * time.Millisecond

// dial dials until a dial ends by itself, and not because a Kick ended it.
func (l *Loop) dial(ctx context.Context) (*Conn, error) {
	for patience := hangs; ; patience *= 2 {
		conn, again, err := l.dialOnce(ctx, patience)
		if !again || ctx.Err() != nil {
			return conn, err
		}
	}
}

// dialOnce also says whether it failed only because a Kick gave it up.
func (l *Loop) dialOnce(ctx context.Context, patience time.Duration) (conn *Conn, again bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	began := time.Now()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		conn, err = l.dialWish(ctx, l.resume.usable(began))
	}()
	var giveUp <-chan time.Time
	for {
		select {
		case <-l.kicked:
			giveUp = time.After(patience - time.Since(began))
		case <-giveUp:
			again = true
			cancel()
		case <-ended:
			l.resume.dialed(err)
			return conn, again && err != nil, err
		}
	}
}

// dialWish asks for the version that is wished for, and for the lowest when
// that one is refused. What is offered on the connection is the same in both
// cases: only Extra uses more, and finds out what there is by calling.
func (l *Loop) dialWish(ctx context.Context, resumeToken string) (*Conn, error) {
	if l.Wish == (proto.Version{}) {
		return l.dialer.Dial(ctx, resumeToken)
	}
	wish := l.dialer
	wish.Version = l.Wish
	conn, err := wish.Dial(ctx, resumeToken)
	var refused *DialError
	if errors.As(err, &refused) && refused.Status == http.StatusBadRequest && refused.has("version") {
		return l.dialer.Dial(ctx, resumeToken)
	}
	return conn, err
}

func (l *Loop) pause(ctx context.Context, wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-l.kicked:
		l.backoff.reset()
	}
}

func (l *Loop) report(connected bool, err error) {
	if l.Connected != nil {
		l.Connected(connected, err)
	}
}

// accessURL is what embedded relays are reached by.
func (l *Loop) accessURL() *url.URL { return l.dialer.URL }
