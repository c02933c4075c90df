package tailnet

import (
	"context"
	"time"

	"github.com/google/uuid"
	"tailscale.com/ipn/ipnstate"
	"tailscale.com/tailcfg"
)

// upgradeDelays are the pauses between probes for a direct path once a peer's
// packets begin to go through a relay. Behind two NATs the side that starts
// loses its first probe, which arrives before the other side has opened its
// NAT, and upstream would not send the next one for 5 seconds. The pauses fill
// that gap: the other side opens its NAT about one relayed round trip after our
// own endpoints are known, which right after a start takes 250 ms.
var upgradeDelays = []time.Duration{
	50 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 100 * time.Millisecond, 100 * time.Millisecond,
	100 * time.Millisecond, 100 * time.Millisecond, 150 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 1500 * time.Millisecond, 1500 * time.Millisecond,
}

// maxUpgrades bounds the peers probed at the same time; further ones wait for
// upstream's own probes.
const maxUpgrades = 32

// wantUpgrade notes a peer whose packets begin to go through a relay. It is
// called on the data path and never blocks.
func (e *Engine) wantUpgrade(peer *member) {
	if e.relaysOnly.Load() {
		return
	}
	select {
	case e.upgrades <- peer.id:
	default:
	}
}

// upgrade probes peers that ask for it.
func (e *Engine) upgrade(ctx context.Context) {
	slots := make(chan struct{}, maxUpgrades)
	for {
		select {
		case <-ctx.Done():
			return
		case id := <-e.upgrades:
			select {
			case slots <- struct{}{}:
				// The caller of upgrade is counted, so Close is not waiting yet.
				e.running.Go(func() {
					e.probeDirect(ctx, id)
					<-slots
				})
			default:
			}
		}
	}
}

// probeDirect probes until packets go directly or the delays are used up.
func (e *Engine) probeDirect(ctx context.Context, id uuid.UUID) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	for _, delay := range upgradeDelays {
		timer.Reset(delay)
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		peer := e.directory.peer(id)
		if peer == nil || !peer.session.relayed() {
			return
		}
		e.upstream.Ping(peer.node.Addresses[0].Addr(), tailcfg.PingDisco, 0, func(*ipnstate.PingResult) {})
	}
	if peer := e.directory.peer(id); peer != nil {
		e.measure(ctx, peer)
	}
}

// relayed says that the last packet went through a relay.
func (s *session) relayed() bool {
	path := s.path.Load()
	return path != nil && path.Addr() == tailcfg.DerpMagicIPAddr
}
