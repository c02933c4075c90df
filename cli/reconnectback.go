package cli

import (
	"context"
	"errors"
	"net"
	"strings"
	"time"

	"github.com/causewayhq/causeway/localapi"
)

const (
	// Between two attempts to come back, at first and at most.
	reconnectFirst, reconnectMost = 200 * time.Millisecond, 2 * time.Second
	// attemptLimit is how long each step of an attempt may take. Systems ask for a
	// connection 0, 1, 3 and 7 s after the beginning: who waits longer than this is
	// still waiting when the network has long come back.
	attemptLimit = 5 * time.Second
)

// A connection on which nothing comes is given up. The tunnel is silent for 6.3 s
// at most while it finds another path, and that must not be taken for an end,
// whenever it begins: the last probe is 7 s after the first.
const (
	probeAfter, probePause = 3 * time.Second, time.Second
	probes                 = 8
	// unacknowledgedLimit is for data under way, without which there are no probes.
	// Each pause between two tries is twice as long as the one before: after a
	// silence of 6.3 s the next may come 13 s after the first.
	unacknowledgedLimit = 14 * time.Second
)

// briefLimit is below what a connection lasts that is of use. After two that were
// briefer the next attempt waits: an agent that refuses would be asked without end.
const briefLimit = time.Second

const lostNews = "connection lost; attaching again (Enter ~. leaves)"

// noticeSilence has a connection end soon after the other side has become silent.
func noticeSilence(conn *net.TCPConn) error {
	return errors.Join(
		conn.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: probeAfter, Interval: probePause, Count: probes}),
		limitUnacknowledged(conn, unacknowledgedLimit),
	)
}

// comeBack attaches again, unless the terminal is no more. Only an agent that has
// closed the connection, and can be asked at once, is known to be the same.
func (s *attachment) comeBack(ctx context.Context, changes <-chan struct{}) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	left := make(chan bool, 1)
	watched := make(chan struct{})
	go func() { // what is typed meanwhile is lost, but for the way out
		defer close(watched)
		for {
			select {
			case <-ctx.Done():
				return
			case <-changes: // the next request says the size
			case typed, ok := <-s.keys:
				if _, leave := s.escape.filter(typed); leave || !ok {
					left <- true
					cancel()
					return
				}
			}
		}
	}()
	defer func() { <-watched }()
	defer cancel()
	if s.brief > 1 && !s.cut {
		s.paused(ctx)
	}
	said := s.cut // the first attempt may have to be given up too
	if said {
		s.say(lostNews)
	}
	for wait := reconnectFirst; ; wait = min(2*wait, reconnectMost) {
		conn, err := s.attempt(ctx, s.cut || wait > reconnectFirst)
		switch {
		case errors.Is(err, errOver) && (s.cut || wait > reconnectFirst):
			return nil, errGone
		case err == nil || errors.Is(err, errOver):
			return conn, err
		}
		if !said {
			s.say(lostNews)
			said = true
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			select {
			case <-left:
				return nil, errDetached
			default:
				return nil, ctx.Err()
			}
		}
	}
}

// paused waits, for what the agent has closed at once it may have refused.
func (s *attachment) paused(ctx context.Context) {
	select {
	case <-time.After(reconnectMost):
	case <-ctx.Done(): // the attempt says so
	}
}

// attempt makes sure that the terminal is there: attaching makes another
// otherwise. An agent that cannot tell, as those of other deployments, has ended it
// when it has closed the connection; after a loss it is just asked for.
func (s *attachment) attempt(ctx context.Context, lost bool) (net.Conn, error) {
	asking, cancel := context.WithTimeout(ctx, attemptLimit)
	defer cancel()
	found, err := s.api.terminals(asking)
	var known *localapi.Error
	switch {
	case errors.As(err, &known) && strings.Contains(known.Cause, "the agent answers"):
		if !lost {
			return nil, errOver
		}
	case err != nil:
		return nil, err
	}
	there := err != nil // it cannot tell
	for _, each := range found {
		there = there || each.ID == s.request.ID
	}
	if !there {
		return nil, errOver
	}
	connecting, cancel := context.WithTimeout(ctx, attemptLimit)
	defer cancel()
	return s.connect(connecting)
}
