package tailnet

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/tailnetv2"
)

const (
	// maxPeerAddresses bounds what one peer may claim; agents announce two or
	// three.
	maxPeerAddresses = 16
	// maxPeerEndpoints bounds how many places one peer can make us send probes
	// to.
	maxPeerEndpoints = 64
	// discoTextSize is that of a disco key as text: "discokey:" and 32 bytes in
	// hexadecimal.
	discoTextSize = 9 + 64
)

// parsed is a node that is right by itself; whether it gets on with ours and
// with those of other peers is for the roster to say.
type parsed struct {
	key   key.NodePublic
	disco key.DiscoPublic
	id    tailcfg.NodeID
	home  int
	// addresses and allowed have the address that peers share, if it is there,
	// at their end: upstream takes the first for the peer's own.
	addresses, allowed []netip.Addr
	endpoints          []netip.AddrPort
}

// readNode checks a node. Endpoints that cannot work are left out, which the
// warning tells; anything else that is wrong refuses the node as a whole.
func readNode(node *tailnetv2.Node) (read parsed, left warning, err error) {
	if node == nil {
		return parsed{}, warning{}, errors.New("node is missing")
	}
	if err := read.key.UnmarshalBinary(node.GetKey()); err != nil || read.key.IsZero() {
		return parsed{}, warning{}, fmt.Errorf("node key of %d bytes is malformed", len(node.GetKey()))
	}
	if size := len(node.GetDisco()); size != discoTextSize || read.disco.UnmarshalText([]byte(node.GetDisco())) != nil || read.disco.IsZero() {
		return parsed{}, warning{}, fmt.Errorf("disco key of %d bytes is malformed", size)
	}
	if node.GetId() <= 0 {
		return parsed{}, warning{}, fmt.Errorf("node id %d is not positive", node.GetId())
	}
	if node.GetPreferredDerp() == 0 {
		return parsed{}, warning{}, warning{errors.New("node has no home relay, the peer cannot be reached")}
	}
	if home := node.GetPreferredDerp(); home < 0 || home > 0xffff {
		// The number travels as a port inside upstream.
		return parsed{}, warning{}, fmt.Errorf("home relay %d is out of range", home)
	}
	read.id, read.home = tailcfg.NodeID(node.GetId()), int(node.GetPreferredDerp())
	if read.addresses, err = tunnelAddresses(node.GetAddresses()); err != nil {
		return parsed{}, warning{}, fmt.Errorf("read addresses: %w", err)
	}
	if len(read.addresses) == 0 || read.addresses[0] == proto.LegacyAgentAddr {
		return parsed{}, warning{}, errors.New("node has no address of its own")
	}
	if read.allowed, err = tunnelAddresses(node.GetAllowedIps()); err != nil {
		return parsed{}, warning{}, fmt.Errorf("read allowed addresses: %w", err)
	}
	if len(read.allowed) == 0 {
		read.allowed = read.addresses
	}
	for _, addr := range read.addresses {
		// What is not allowed is not claimed either, so it may be another's.
		if !slices.Contains(read.allowed, addr) {
			return parsed{}, warning{}, fmt.Errorf("address %s is not among the allowed ones", addr)
		}
	}
	read.endpoints, left, err = outsideEndpoints(node.GetEndpoints())
	return read, left, err
}

// tunnelAddresses reads single addresses inside the tunnel's two prefixes. A
// peer that claims anything wider could draw the host's other traffic to it.
func tunnelAddresses(texts []string) ([]netip.Addr, error) {
	if len(texts) > maxPeerAddresses {
		return nil, fmt.Errorf("%d prefixes, at most %d allowed", len(texts), maxPeerAddresses)
	}
	result := make([]netip.Addr, 0, len(texts))
	shared := false
	for _, text := range texts {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("prefix %.64q is malformed", text)
		}
		addr := prefix.Addr()
		if !prefix.IsSingleIP() || !inTunnel(addr) || addr == proto.DNSAddr {
			return nil, fmt.Errorf("prefix %s is not an address of the tunnel", prefix)
		}
		switch {
		case addr == proto.LegacyAgentAddr:
			shared = true
		case !slices.Contains(result, addr):
			result = append(result, addr)
		}
	}
	if shared {
		result = append(result, proto.LegacyAgentAddr)
	}
	return result, nil
}

func inTunnel(addr netip.Addr) bool {
	return proto.ServicePrefix.Contains(addr) || proto.TailscalePrefix.Contains(addr)
}

// usableEndpoint says whether an address may be a way to reach a node from
// outside: not inside the tunnel itself, of which upstream knows only one of
// our two prefixes, not our own host, and not link-local, which means nothing
// without a zone.
func usableEndpoint(endpoint netip.AddrPort) bool {
	addr := endpoint.Addr().Unmap()
	return addr.IsValid() && endpoint.Port() != 0 && addr.Zone() == "" && !addr.IsLoopback() &&
		!addr.IsUnspecified() && !addr.IsMulticast() && !addr.IsLinkLocalUnicast() && !inTunnel(addr)
}

func outsideEndpoints(texts []string) (usable []netip.AddrPort, left warning, err error) {
	usable = make([]netip.AddrPort, 0, min(len(texts), maxPeerEndpoints))
	dropped, example := 0, ""
	for _, text := range texts {
		endpoint, err := netip.ParseAddrPort(text)
		if err != nil {
			return nil, warning{}, fmt.Errorf("endpoint %.64q is malformed", text)
		}
		if usableEndpoint(endpoint) && len(usable) < maxPeerEndpoints {
			usable = append(usable, endpoint)
			continue
		}
		if dropped++; dropped == 1 {
			example = endpoint.String()
		}
	}
	if dropped > 0 {
		left.error = fmt.Errorf("%d of %d endpoints left out, the first %s", dropped, len(texts), example)
	}
	return usable, left, nil
}

// toWire writes down all that is used of a node, the same for equal nodes.
func (p parsed) toWire() *tailnetv2.Node {
	public, _ := p.key.MarshalBinary() // never fails
	disco, _ := p.disco.MarshalText()  // never fails
	node := &tailnetv2.Node{Id: int64(p.id), Key: public, Disco: string(disco), PreferredDerp: int32(p.home)}
	for _, addr := range p.addresses {
		node.Addresses = append(node.Addresses, netip.PrefixFrom(addr, addr.BitLen()).String())
	}
	if !slices.Equal(p.addresses, p.allowed) {
		for _, addr := range p.allowed {
			node.AllowedIps = append(node.AllowedIps, netip.PrefixFrom(addr, addr.BitLen()).String())
		}
	}
	for _, endpoint := range p.endpoints {
		node.Endpoints = append(node.Endpoints, endpoint.String())
	}
	return node
}

// toUpstream makes upstream's form of a node, without endpoints unless direct.
func (p parsed) toUpstream(id uuid.UUID, direct bool) *tailcfg.Node {
	node := &tailcfg.Node{
		ID: p.id, StableID: tailcfg.StableNodeID(id.String()), Name: id.String() + ".",
		Key: p.key, DiscoKey: p.disco, Addresses: singles(p.addresses), AllowedIPs: singles(p.allowed), HomeDERP: p.home,
		MachineAuthorized: true, Hostinfo: (&tailcfg.Hostinfo{}).View(),
	}
	if direct {
		node.Endpoints = p.endpoints
	}
	return node
}

func singles(addrs []netip.Addr) []netip.Prefix {
	result := make([]netip.Prefix, len(addrs))
	for i, addr := range addrs {
		result[i] = netip.PrefixFrom(addr, addr.BitLen())
	}
	return result
}

// ownNode is everything we tell about ourselves.
type ownNode struct {
	home      int
	latency   map[string]float64
	endpoints []netip.AddrPort
	forced    map[int]string
}

// nodeToWire makes the message that peers get.
func (e *Engine) nodeToWire(own ownNode, asOf *timestamppb.Timestamp) (*tailnetv2.Node, error) {
	public := e.config.Identity.Node.Public()
	binary, err := public.MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("write node key: %w", err)
	}
	disco, err := e.config.Identity.Disco.Public().MarshalText()
	if err != nil {
		return nil, fmt.Errorf("write disco key: %w", err)
	}
	node := &tailnetv2.Node{
		Id: e.config.NodeID, AsOf: asOf, Key: binary, Disco: string(disco), PreferredDerp: int32(own.home),
		DerpLatency: own.latency, DerpForcedWebsocket: map[int32]string{},
	}
	for region, reason := range own.forced {
		node.DerpForcedWebsocket[int32(region)] = reason
	}
	for _, prefix := range e.config.Addresses {
		node.Addresses = append(node.Addresses, prefix.String())
		node.AllowedIps = append(node.AllowedIps, prefix.String())
	}
	for _, endpoint := range own.endpoints {
		node.Endpoints = append(node.Endpoints, endpoint.String())
	}
	return node, nil
}
