package tailnet

import (
	"context"
	"maps"
	"net/netip"
	"slices"

	"github.com/google/uuid"
	"tailscale.com/types/key"
)

// Most peers are never spoken to, so they are records (see roster) until
// somebody needs them. There are four ways to be needed:
//
//   - A packet to the peer leaves the host, or the process. WireGuard asks route
//     for each packet, in the goroutine that reads the device and with no lock
//     held (RoutineReadFromTUN; upstream v1.102.5), so the peer is programmed
//     there and then, and the packet goes on. For a peer that is programmed it is
//     the one lookup that every packet needs anyway.
//   - Somebody pings it, or asks for a handshake.
//   - It sends to us. Upstream drops what comes through a relay from a key that
//     magicsock does not have, and WireGuard a handshake that comes directly.
//     Both hooks see the key, but WireGuard's may run under upstream's wgLock
//     (SyncDevicePeer), which comes after magicsock's lock: nothing may be
//     programmed there. So the key is handed to attend, and a handshake of our
//     own makes up for the packet that is lost. Whoever knows two public keys
//     can forge such a packet over UDP; the worst that comes of it is one
//     handshake with a peer that the control plane named.
//   - It was in use before a restart, see Handshake.
//
// The lock order is: lifecycle, then upstream's locks, then the directory's.
// Whoever holds the first must not inject packets, for that waits for the
// reader of the device, which may be waiting for the lock: shake leaves it to
// attend.

// maxKnocks bounds the keys that wait for attend; they come again.
const maxKnocks = 64

// route answers upstream's question which peer gets a packet.
func (e *Engine) route(addr netip.Addr) (key.NodePublic, bool) {
	if e.closing.Load() {
		return key.NodePublic{}, false
	}
	if public, found := e.directory.route(addr); found || !inTunnel(addr) {
		return public, found
	}
	e.peers.need(addr)
	return e.directory.route(addr)
}

// allowed answers which addresses a peer may send from.
func (e *Engine) allowed(public key.NodePublic) ([]netip.Prefix, bool) {
	if e.closing.Load() {
		return nil, false
	}
	prefixes, found := e.directory.allowed(public)
	if !found {
		e.knocked(public)
	}
	return prefixes, found
}

// fromRelay is upstream's hook for packets that came through a relay. It is on
// the data path and never blocks.
func (e *Engine) fromRelay(region int, from key.NodePublic, packet []byte) (handled bool) {
	if e.directory.withKey(from) == nil {
		e.knocked(from)
	}
	return e.relayReceived(region, from, packet)
}

func (e *Engine) knocked(public key.NodePublic) {
	select {
	case e.knocks <- public:
	default:
	}
}

// shake asks for a session with a peer that is being programmed. It never blocks.
func (e *Engine) shake(id uuid.UUID) {
	e.mu.Lock()
	e.waited[id] = struct{}{}
	e.mu.Unlock()
	select {
	case e.shaken <- struct{}{}:
	default:
	}
}

// attend does what must not be done where it turns out to be necessary.
func (e *Engine) attend(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case public := <-e.knocks:
			e.peers.knock(public)
		case <-e.shaken:
			e.mu.Lock()
			ids := slices.Collect(maps.Keys(e.waited))
			clear(e.waited)
			e.mu.Unlock()
			for _, id := range ids {
				if peer := e.directory.peer(id); peer != nil {
					e.nudge(peer)
				}
			}
		}
	}
}

// SetDirectDisabled switches direct paths off (relays only) or on again. Peers
// in use shake hands anew on the paths that are left.
func (e *Engine) SetDirectDisabled(disabled bool) {
	if e.relaysOnly.Swap(disabled) == disabled {
		return
	}
	e.magic.SetOnlyTCP443(disabled)
	e.peers.again()
	e.publisher.poke()
	e.magic.ReSTUN("direct-paths-switched")
}
