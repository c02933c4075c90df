package coordinator

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/tailnetv2"
)

// Send handles one request: authorise everything, then update_self, add_tunnel,
// remove_tunnel, disconnect, ready_for_handshake, in this order. A request that
// is malformed or not authorised ends the stream and is returned as the error;
// on a stream that has ended the answer is ErrEnded. req is not kept.
func (s *Stream) Send(req *tailnetv2.CoordinateRequest) error {
	s.sending.Lock()
	defer s.sending.Unlock()
	select {
	case <-s.done:
		return ErrEnded
	default:
	}
	err := checkShape(req)
	if err == nil {
		if err = s.auth.Authorize(s.ctx, req); err != nil {
			err = fmt.Errorf("authorization: %w", err)
		}
	}
	var wire []byte
	if update := req.GetUpdateSelf(); err == nil && update != nil {
		wire, err = marshalNode(update.GetNode())
		if err == nil && s.class != classTrusted && len(wire) > MaxNodeSize {
			err = fmt.Errorf("authorization: node of %d bytes is above the limit of %d", len(wire), MaxNodeSize)
		}
	}
	if err != nil {
		s.owner.logger.Warn("refuse coordinate request", slog.String("peer", s.id.String()), slog.String("name", s.name), slog.Any("error", err))
		s.owner.lose(s, err.Error())
		return err
	}
	return s.owner.apply(s, req, wire)
}

// checkShape refuses what no caller may send.
func checkShape(req *tailnetv2.CoordinateRequest) error {
	if update := req.GetUpdateSelf(); update != nil && update.GetNode() == nil {
		return errors.New("update_self without a node")
	}
	for _, part := range []struct {
		name   string
		tunnel *tailnetv2.CoordinateRequest_Tunnel
	}{{"add_tunnel", req.GetAddTunnel()}, {"remove_tunnel", req.GetRemoveTunnel()}} {
		if part.tunnel != nil && len(part.tunnel.GetId()) != 16 {
			return fmt.Errorf("parse %s id: got %d bytes, want 16", part.name, len(part.tunnel.GetId()))
		}
	}
	if count := len(req.GetReadyForHandshake()); count > updatesLimit {
		// Each one may cost a response, and all are handled under the lock.
		return fmt.Errorf("ready_for_handshake names %d peers, above the limit of %d", count, updatesLimit)
	}
	for _, entry := range req.GetReadyForHandshake() {
		if len(entry.GetId()) != 16 {
			return fmt.Errorf("parse ready_for_handshake id: got %d bytes, want 16", len(entry.GetId()))
		}
	}
	return nil
}

// apply makes the changes of an authorised request. node is the marshalled node
// of update_self.
func (c *Coordinator) apply(s *Stream, req *tailnetv2.CoordinateRequest, node []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.settle()
	if s.removed {
		return ErrEnded
	}
	if err := c.checkClientAddrs(s, req); err != nil {
		err = fmt.Errorf("authorization: %w", err)
		c.remove(s, departure{kind: kindLost, reason: "lost", text: err.Error()})
		return err
	}
	if update := req.GetUpdateSelf(); update != nil {
		c.updateSelf(s, update.GetNode(), node)
	}
	if tunnel := req.GetAddTunnel(); tunnel != nil {
		c.addTunnel(s, uuid.UUID(tunnel.GetId()))
	}
	if tunnel := req.GetRemoveTunnel(); tunnel != nil {
		c.removeTunnel(s, uuid.UUID(tunnel.GetId()))
	}
	if req.GetDisconnect() != nil {
		c.remove(s, departure{kind: kindDisconnected, reason: "graceful disconnect"})
		return nil // a peer that left has nobody to be ready for
	}
	for _, entry := range req.GetReadyForHandshake() {
		c.readyForHandshake(s, uuid.UUID(entry.GetId()))
	}
	return nil
}

func (c *Coordinator) updateSelf(s *Stream, node *tailnetv2.Node, wire []byte) {
	s.updated = time.Now()
	s.node = wire
	c.holdClientAddrs(s, node)
	c.claimKey(s, node.GetKey())
	var update []byte // made for the first receiver, shared by all
	for partner := range c.links[s.id] {
		mirror := c.links[partner][s.id]
		receiver := c.peers[partner]
		if receiver == nil || (mirror.sent != nil && bytes.Equal(mirror.sent, wire)) {
			continue
		}
		if update == nil {
			update = appendUpdate(nil, s.id, wire, kindNode, "node update")
		}
		mirror.sent = wire
		c.push(receiver, response{wire: update, updates: 1})
	}
}

func (c *Coordinator) addTunnel(s *Stream, to uuid.UUID) {
	if to == s.id {
		return // a peer needs no introduction to itself
	}
	c.linkTo(s.id, to).out = true
	c.linkTo(to, s.id).in = true
	c.introduce(s, c.peers[to])
	c.introduce(c.peers[to], s)
}

// introduce tells receiver the node of about, unless it knows it. Either may
// be nil, for not connected.
func (c *Coordinator) introduce(receiver, about *Stream) {
	if receiver == nil || about == nil || about.node == nil {
		return
	}
	l := c.links[receiver.id][about.id]
	if l.sent != nil && bytes.Equal(l.sent, about.node) {
		return
	}
	l.sent = about.node
	c.push(receiver, response{wire: appendUpdate(nil, about.id, about.node, kindNode, "add tunnel"), updates: 1})
}

func (c *Coordinator) removeTunnel(s *Stream, to uuid.UUID) {
	l := c.links[s.id][to]
	if l == nil || !l.out {
		return
	}
	mirror := c.links[to][s.id]
	l.out, mirror.in = false, false
	if l.sent != nil {
		l.sent = nil
		c.push(s, response{wire: appendUpdate(nil, to, nil, kindDisconnected, "remove tunnel"), updates: 1})
	}
	if mirror.sent != nil {
		mirror.sent = nil
		c.push(c.peers[to], response{wire: appendUpdate(nil, s.id, nil, kindDisconnected, "remove tunnel"), updates: 1})
	}
	c.unlinkIfIdle(s.id, to)
	c.permits.served.forget(s.id, to)
}

func (c *Coordinator) readyForHandshake(s *Stream, target uuid.UUID) {
	if c.links[s.id][target] == nil {
		text := fmt.Sprintf("ready for handshake error: you do not share a tunnel with %q", target.String())
		c.push(s, response{wire: ErrorResponse(text)})
		return
	}
	c.push(c.peers[target], response{wire: appendUpdate(nil, s.id, nil, kindReady, ""), updates: 1})
}

// linkTo is the record of peer about partner, made if it does not exist.
func (c *Coordinator) linkTo(peer, partner uuid.UUID) *link {
	partners := c.links[peer]
	if partners == nil {
		partners = map[uuid.UUID]*link{}
		c.links[peer] = partners
	}
	l := partners[partner]
	if l == nil {
		l = &link{}
		partners[partner] = l
	}
	return l
}

// unlinkIfIdle forgets both records of a pair without a tunnel.
func (c *Coordinator) unlinkIfIdle(a, b uuid.UUID) {
	if l := c.links[a][b]; l == nil || l.out || l.in {
		return
	}
	for _, pair := range [][2]uuid.UUID{{a, b}, {b, a}} {
		delete(c.links[pair[0]], pair[1])
		if len(c.links[pair[0]]) == 0 {
			delete(c.links, pair[0])
		}
	}
}

// hostPart is what an id contributes to the addresses that derive from it: all
// but the prefix, so it is the same in both prefixes.
func hostPart(id uuid.UUID) [10]byte { return [10]byte(id[6:]) }

// checkClientAddrs refuses a client an address that derives from an agent's id.
func (c *Coordinator) checkClientAddrs(s *Stream, req *tailnetv2.CoordinateRequest) error {
	if s.class != classClient {
		return nil
	}
	held := s.suffixes
	if update := req.GetUpdateSelf(); update != nil {
		held = suffixesOf(update.GetNode())
		for _, suffix := range held {
			if c.agents[suffix] > 0 {
				return errAgentAddr
			}
			for partner, l := range c.links[s.id] {
				if l.out && hostPart(partner) == suffix {
					return errAgentAddr
				}
			}
		}
	}
	if tunnel := req.GetAddTunnel(); tunnel != nil {
		for _, suffix := range held {
			if hostPart(uuid.UUID(tunnel.GetId())) == suffix {
				return errAgentAddr
			}
		}
	}
	return nil
}

var errAgentAddr = errors.New("node address is taken")

// suffixesOf is the host parts of a client's addresses, which were checked to
// be in one of the prefixes.
func suffixesOf(node *tailnetv2.Node) [][10]byte {
	var suffixes [][10]byte
	for _, text := range node.GetAddresses() {
		if prefix, err := parseHost(text); err == nil {
			addr := prefix.Addr().As16()
			suffixes = append(suffixes, [10]byte(addr[6:]))
		}
	}
	return suffixes
}

func (c *Coordinator) holdClientAddrs(s *Stream, node *tailnetv2.Node) {
	if s.class != classClient {
		return
	}
	for _, suffix := range s.suffixes {
		decrement(c.clients, suffix)
	}
	s.suffixes = suffixesOf(node)
	for _, suffix := range s.suffixes {
		c.clients[suffix]++
	}
}

// claimAgentAddrs gives a connecting agent its addresses, if need be by
// removing a client that took them: it had no right to, and a random address
// meets an agent's once in 2^80.
func (c *Coordinator) claimAgentAddrs(s *Stream) {
	suffix := hostPart(s.id)
	c.agents[suffix]++
	if c.clients[suffix] == 0 {
		return
	}
	for _, other := range c.peers {
		for _, taken := range other.suffixes {
			if taken == suffix {
				c.logger.Warn("remove client that took the address of an agent",
					slog.String("peer", other.id.String()), slog.String("name", other.name), slog.String("agent", proto.AddrFromUUID(proto.ServicePrefix, s.id).String()))
				c.remove(other, departure{kind: kindLost, reason: "lost", text: "authorization: " + errAgentAddr.Error()})
				break
			}
		}
	}
}
