package coordinator

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/uuid"
	"tailscale.com/types/key"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/tailnetv2"
)

// MaxNodeSize is the largest marshalled node, in bytes, that an agent or a
// client may announce. A real node with dozens of endpoints has under 4 KiB;
// each node is copied to every partner, so its size must have a limit.
const MaxNodeSize = 64 << 10

// Auth decides whether a peer may make a request. Authorize is called for every
// request before any of it takes effect, with the context of the peer, without
// any lock held, and never twice at the same time for one stream. Its error is
// sent to the peer as it is, so it must not say whether something that belongs
// to somebody else exists. Tunnel ids have 16 bytes and an update_self has a
// node by the time it is called. A request may combine several parts.
type Auth interface {
	Authorize(ctx context.Context, req *tailnetv2.CoordinateRequest) error
}

// errNoAgent is the one answer for an agent that does not exist and for one
// that belongs to somebody else.
var errNoAgent = errors.New("workspace agent not found or you do not have permission")

// class tells the stateful checks of the coordinator what a peer is. An Auth
// from elsewhere is of no class, and is trusted like a single-tailnet peer.
type class int

const (
	classTrusted class = iota
	classClient
	classAgent
)

func (c class) String() string {
	switch c {
	case classClient:
		return "client"
	case classAgent:
		return "agent"
	default:
		return "trusted"
	}
}

type classed interface{ class() class }

func classOf(auth Auth) class {
	if known, ok := auth.(classed); ok {
		return known.class()
	}
	return classTrusted
}

type singleTailnetAuth struct{}

// SingleTailnetAuth lets a peer do everything: for the control plane's own
// peers only.
func SingleTailnetAuth() Auth { return singleTailnetAuth{} }

func (singleTailnetAuth) Authorize(context.Context, *tailnetv2.CoordinateRequest) error { return nil }

type agentAuth struct{ addrs []netip.Prefix }

// AgentAuth is for the agent of that id: it may announce only the addresses
// that derive from its id and the legacy one, and opens no tunnels.
func AgentAuth(id uuid.UUID) Auth {
	derived := proto.AgentAddrs(id)
	return agentAuth{addrs: []netip.Prefix{
		netip.PrefixFrom(derived[0], 128), netip.PrefixFrom(derived[1], 128), netip.PrefixFrom(proto.LegacyAgentAddr, 128),
	}}
}

func (agentAuth) class() class { return classAgent }

func (a agentAuth) Authorize(_ context.Context, req *tailnetv2.CoordinateRequest) error {
	if update := req.GetUpdateSelf(); update != nil {
		if err := a.checkList(update.GetNode().GetAddresses()); err != nil {
			return fmt.Errorf("Addresses: %w", err)
		}
		if err := a.checkList(update.GetNode().GetAllowedIps()); err != nil {
			return fmt.Errorf("AllowedIps: %w", err)
		}
		if err := checkKeys(update.GetNode()); err != nil {
			return err
		}
	}
	if req.GetAddTunnel() != nil {
		return errors.New("agents cannot open tunnels")
	}
	return nil
}

func (a agentAuth) checkList(list []string) error {
	for _, text := range list {
		prefix, err := parseHost(text)
		if err != nil {
			return err
		}
		if !slices.Contains(a.addrs, prefix) {
			return fmt.Errorf("invalid node address %s", prefix)
		}
	}
	return nil
}

type clientOfAgentAuth struct{ agentID uuid.UUID }

// ClientOfAgentAuth is for a user's connection to one agent, whose right to it
// was checked when the connection was made.
func ClientOfAgentAuth(agentID uuid.UUID) Auth { return clientOfAgentAuth{agentID: agentID} }

func (clientOfAgentAuth) class() class { return classClient }

func (a clientOfAgentAuth) Authorize(_ context.Context, req *tailnetv2.CoordinateRequest) error {
	if err := checkClient(req); err != nil {
		return err
	}
	if tunnel := req.GetAddTunnel(); tunnel != nil {
		if id := uuid.UUID(tunnel.GetId()); id != a.agentID {
			return fmt.Errorf("invalid agent id, expected %s, got %s", a.agentID, id)
		}
	}
	return nil
}

type userAuth struct {
	mayReach func(ctx context.Context, agentID uuid.UUID) error
}

// UserAuth is for a user's connection to all of the user's agents. mayReach is
// asked for each tunnel, and its error never reaches the peer: whatever it is,
// the peer hears that the agent was not found or is not for it to reach. It
// must give up when its context ends.
func UserAuth(mayReach func(ctx context.Context, agentID uuid.UUID) error) Auth {
	return userAuth{mayReach: mayReach}
}

func (userAuth) class() class { return classClient }

func (a userAuth) Authorize(ctx context.Context, req *tailnetv2.CoordinateRequest) error {
	if err := checkClient(req); err != nil {
		return err
	}
	if tunnel := req.GetAddTunnel(); tunnel != nil {
		if err := a.mayReach(ctx, uuid.UUID(tunnel.GetId())); err != nil {
			return errNoAgent
		}
	}
	return nil
}

// checkClient holds what every kind of client must observe and what can be
// said without knowing other peers.
func checkClient(req *tailnetv2.CoordinateRequest) error {
	if update := req.GetUpdateSelf(); update != nil {
		own, err := clientAddrs(update.GetNode())
		if err != nil {
			return err
		}
		for _, text := range update.GetNode().GetAllowedIps() {
			prefix, err := parseHost(text)
			if err != nil {
				return err
			}
			if !slices.Contains(own, prefix.Addr()) {
				return fmt.Errorf("allowed ip %s is not one of the node's addresses", prefix)
			}
		}
		if err := checkKeys(update.GetNode()); err != nil {
			return err
		}
	}
	if len(req.GetReadyForHandshake()) > 0 {
		return errors.New("clients may not send ready_for_handshake")
	}
	return nil
}

func clientAddrs(node *tailnetv2.Node) ([]netip.Addr, error) {
	var own []netip.Addr
	for _, text := range node.GetAddresses() {
		prefix, err := parseHost(text)
		if err != nil {
			return nil, err
		}
		addr := prefix.Addr()
		switch {
		case !proto.ServicePrefix.Contains(addr) && !proto.TailscalePrefix.Contains(addr):
			return nil, fmt.Errorf("node address %s is outside the service prefixes", addr)
		case addr == proto.DNSAddr || addr == proto.LegacyAgentAddr:
			return nil, fmt.Errorf("node address %s is reserved", addr)
		}
		own = append(own, addr)
	}
	return own, nil
}

// parseHost reads a CIDR that must hold exactly one IPv6 address.
func parseHost(text string) (netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("parse node address: %w", err)
	}
	if prefix.Bits() != 128 {
		return netip.Prefix{}, fmt.Errorf("invalid address bits, expected 128, got %d", prefix.Bits())
	}
	return prefix, nil
}

// checkKeys refuses keys that a partner could not read. A node may lack them:
// then no partner can use it, and none is harmed.
func checkKeys(node *tailnetv2.Node) error {
	if len(node.GetKey()) > 0 {
		var parsed key.NodePublic
		if err := parsed.UnmarshalBinary(node.GetKey()); err != nil || parsed.IsZero() {
			return errors.New("invalid node key")
		}
	}
	if node.GetDisco() != "" {
		var parsed key.DiscoPublic
		if err := parsed.UnmarshalText([]byte(node.GetDisco())); err != nil || parsed.IsZero() {
			return errors.New("invalid disco key")
		}
	}
	return nil
}
