package tailnetclient

import (
	"context"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/causewayhq/causeway/proto"
)

const (
	// tendEvery is how often destinations are looked at.
	tendEvery = 10 * time.Second
	// absenceLimit is how long an agent may be without its control connection
	// before it is asked whether it is still there: the same as it counts as
	// present for, elsewhere in this server.
	absenceLimit = 30 * time.Second
	// pingLimit is how long it has to answer then.
	pingLimit = 5 * time.Second
	// pingsAtOnce bounds the questions at one time.
	pingsAtOnce = 16
)

// tend looks after a network until it is idle or the client ends, and ends it.
func (c *Client) tend(n *network) {
	defer n.close()
	ticker := time.NewTicker(tendEvery)
	defer ticker.Stop()
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-ticker.C:
		}
		n.stack.Engine().SetRelayMap(ownRelays(c.config.RelayMap()))
		now := time.Now()
		if c.dropIdle(n, now) {
			return
		}
		c.endSilent(n, c.absent(n, now))
	}
}

// dropIdle lets go of the agents that nobody has used for idleLimit, and says
// whether none is left; then the network is nobody's any more.
func (c *Client) dropIdle(n *network, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, each := range n.destinations {
		if each.users == 0 && now.Sub(each.idleSince) >= idleLimit {
			n.drop(id)
		}
	}
	if len(n.destinations) > 0 {
		return false
	}
	c.network, n.ended = nil, true
	c.config.Logger.Debug("the server's own network is idle and ends", slog.String("peer", n.id.String()))
	return true
}

// absent are the agents with connections that have had no control connection
// for absenceLimit.
func (c *Client) absent(n *network, now time.Time) []uuid.UUID {
	c.mu.Lock()
	defer c.mu.Unlock()
	var found []uuid.UUID
	for id, each := range n.destinations {
		switch {
		case len(each.conns) == 0 || c.config.Coordinator.Connected(id):
			each.absentSince = time.Time{}
		case each.absentSince.IsZero():
			each.absentSince = now
		case now.Sub(each.absentSince) >= absenceLimit:
			found = append(found, id)
		}
	}
	return found
}

// endSilent ends the connections to those agents that do not answer in the
// tunnel either: sessions outlive the trouble of a control connection, and not
// their agent.
func (c *Client) endSilent(n *network, agents []uuid.UUID) {
	var group errgroup.Group
	group.SetLimit(pingsAtOnce)
	for _, id := range agents {
		group.Go(func() error {
			ctx, cancel := context.WithTimeout(n.ctx, pingLimit)
			defer cancel()
			if _, err := n.stack.Engine().Ping(ctx, proto.AddrFromUUID(proto.ServicePrefix, id)); err != nil && n.ctx.Err() == nil {
				c.abandon(n, id)
			}
			return nil
		})
	}
	_ = group.Wait() // none fails
}

func (c *Client) abandon(n *network, agent uuid.UUID) {
	c.mu.Lock()
	var open []*conn
	if held := n.destinations[agent]; held != nil {
		for each := range held.conns {
			open = append(open, each)
		}
	}
	c.mu.Unlock()
	for _, each := range open {
		each.abort(ErrGone)
	}
}
