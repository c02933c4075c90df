package tailnet

import (
	"context"
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"tailscale.com/disco"
	"tailscale.com/types/key"
)

// Nothing in upstream's interface makes it stop believing in the direct path to
// one peer while the path's time has not run out. The peer can do that: its
// call-me-maybe lists where it can be reached, and an endpoint that is missing
// from the next list is forgotten at once, also when it is in use. So the side
// that found the path dead asks the other one, through the relay, to withdraw
// the endpoint. That request and its echoes are our own messages beside
// WireGuard's; a peer that is not ours drops them, and its paths fail over when
// upstream says so. They are sealed with the disco keys.
const (
	// relayedMagic begins a message of ours. It looks neither like WireGuard
	// nor like disco, STUN or Geneve.
	relayedMagic = "CWpath01"
	// relayedLimit is the longest such message: magic, nonce, authenticator, body.
	relayedLimit = len(relayedMagic) + 24 + 16 + withdrawLength
	echoLength   = 1 + 8
	// withdrawLength is a kind and an endpoint as call-me-maybe writes it.
	withdrawLength = 1 + 16 + 2

	// The kinds of message. The echo carries its sender's clock and goes back
	// as it came, but for the kind.
	kindEcho     = 1
	kindEchoed   = 2
	kindWithdraw = 3

	// serveEvery is the shortest pause between withdrawals for one peer.
	serveEvery = 300 * time.Millisecond
	// listPause keeps the lists in order: upstream handles each in its own
	// goroutine.
	listPause = 20 * time.Millisecond
	// maxRelayed bounds the messages that wait.
	maxRelayed = 64
)

// relayedMessage is one that came through a relay.
type relayedMessage struct {
	from   key.NodePublic
	region int
	packet []byte
}

// relayReceived is upstream's hook for packets that came through a relay. It
// is on the data path and never blocks.
func (e *Engine) relayReceived(region int, from key.NodePublic, packet []byte) bool {
	if len(packet) < len(relayedMagic) || string(packet[:len(relayedMagic)]) != relayedMagic {
		return false
	}
	if len(packet) <= relayedLimit {
		select {
		case e.relayed <- relayedMessage{from, region, slices.Clone(packet[len(relayedMagic):])}:
		default:
		}
	}
	return true
}

// answerRelayed handles such messages.
func (e *Engine) answerRelayed(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case message := <-e.relayed:
			if peer := e.directory.withKey(message.from); peer != nil && !e.relaysOnly.Load() {
				e.answer(ctx, peer, message)
			}
		}
	}
}

func (e *Engine) answer(ctx context.Context, peer *member, message relayedMessage) {
	body, ok := e.config.Identity.Disco.Shared(peer.node.DiscoKey).Open(message.packet)
	if !ok || len(body) == 0 {
		return
	}
	contact := &peer.session.contact
	switch {
	case body[0] == kindEcho && len(body) == echoLength:
		body[0] = kindEchoed
		e.sendRelayed(peer, message.region, body)
	case body[0] == kindEchoed && len(body) == echoLength:
		contact.echoed.Store(int64(binary.BigEndian.Uint64(body[1:])))
	case body[0] == kindWithdraw && len(body) == withdrawLength:
		now, last := time.Now().UnixNano(), contact.served.Load()
		endpoint := readEndpoint(body[1:])
		if now-last < int64(serveEvery) || !usableEndpoint(endpoint) {
			return
		}
		contact.served.Store(now)
		e.askBack(peer)
		// The caller of answerRelayed is counted, so Close is not waiting yet.
		e.running.Go(func() { e.withdraw(ctx, peer, message.region, endpoint) })
	}
}

// askBack gives up our own direct path to a peer that proved that nothing comes
// back on its one: what it sent and we answered, or the answer, was lost.
func (e *Engine) askBack(peer *member) {
	path, asked := peer.session.path.Load(), peer.session.contact.asked.Load()
	if path != nil && !peer.session.relayed() && time.Now().UnixNano()-asked >= int64(askAgain) {
		e.askToWithdraw(peer, *path)
	}
}

// withdraw makes the peer forget one of our endpoints: a list has to contain it
// before a list can lack it. The last list has it again, so that the peer goes
// on probing it and returns as soon as it answers.
func (e *Engine) withdraw(ctx context.Context, peer *member, region int, endpoint netip.AddrPort) {
	rest := slices.DeleteFunc(e.publisher.endpoints(), func(own netip.AddrPort) bool { return own == endpoint })
	all := append(slices.Clone(rest), endpoint)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for _, list := range [][]netip.AddrPort{all, rest, all} {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		e.sendDisco(peer, region, (&disco.CallMeMaybe{MyNumber: list}).AppendMarshal(nil))
		timer.Reset(listPause)
	}
}

// sendEcho asks whether a peer can be reached through its relay.
func (e *Engine) sendEcho(peer *member) {
	body := binary.BigEndian.AppendUint64([]byte{kindEcho}, uint64(time.Now().UnixNano()))
	e.sendRelayed(peer, peer.node.HomeDERP, body)
}

// askToWithdraw asks a peer to withdraw the endpoint that we send to.
func (e *Engine) askToWithdraw(peer *member, endpoint netip.AddrPort) {
	peer.session.contact.asked.Store(time.Now().UnixNano())
	e.sendRelayed(peer, peer.node.HomeDERP, appendEndpoint([]byte{kindWithdraw}, endpoint))
}

func (e *Engine) sendRelayed(peer *member, region int, body []byte) {
	e.sendThroughRelay(peer, region, append([]byte(relayedMagic), e.seal(peer, body)...))
}

func (e *Engine) sendDisco(peer *member, region int, message []byte) {
	packet := e.config.Identity.Disco.Public().AppendTo([]byte(disco.Magic))
	e.sendThroughRelay(peer, region, append(packet, e.seal(peer, message)...))
}

func (e *Engine) seal(peer *member, body []byte) []byte {
	return e.config.Identity.Disco.Shared(peer.node.DiscoKey).Seal(body)
}

// sendThroughRelay drops the packet if the relay cannot be had: who waits for
// an answer asks again.
func (e *Engine) sendThroughRelay(peer *member, region int, packet []byte) {
	_, _ = e.magic.SendDERPPacketTo(peer.node.Key, region, packet)
}

func appendEndpoint(b []byte, endpoint netip.AddrPort) []byte {
	addr := endpoint.Addr().As16()
	return binary.BigEndian.AppendUint16(append(b, addr[:]...), endpoint.Port())
}

func readEndpoint(b []byte) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[:16])).Unmap(), binary.BigEndian.Uint16(b[16:]))
}
