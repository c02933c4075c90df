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
)

// errNoHome is for a node that nobody can reach yet.
var errNoHome = errors.New("node has no home relay")

// usableEndpoint says whether an address may be a way to reach a node from
// outside: not inside the tunnel itself, of which upstream knows only one of
// our two prefixes, and not link-local, which means nothing without a zone.
func usableEndpoint(endpoint netip.AddrPort) bool {
	addr := endpoint.Addr().Unmap()
	return addr.IsValid() && endpoint.Port() != 0 && addr.Zone() == "" &&
		!addr.IsUnspecified() && !addr.IsMulticast() && !addr.IsLinkLocalUnicast() &&
		!proto.ServicePrefix.Contains(addr) && !proto.TailscalePrefix.Contains(addr)
}

// nodeToUpstream checks a peer's node and converts it. Endpoints that cannot
// work are left out; anything else that is wrong refuses the node as a whole.
func nodeToUpstream(id uuid.UUID, node *tailnetv2.Node, direct bool) (*tailcfg.Node, error) {
	if node == nil {
		return nil, errors.New("node is missing")
	}
	var public key.NodePublic
	if err := public.UnmarshalBinary(node.GetKey()); err != nil || public.IsZero() {
		return nil, fmt.Errorf("node key of %d bytes is malformed", len(node.GetKey()))
	}
	var disco key.DiscoPublic
	if err := disco.UnmarshalText([]byte(node.GetDisco())); err != nil || disco.IsZero() {
		return nil, errors.New("disco key is malformed")
	}
	if node.GetId() <= 0 {
		return nil, fmt.Errorf("node id %d is not positive", node.GetId())
	}
	if node.GetPreferredDerp() == 0 {
		return nil, errNoHome
	}
	if home := node.GetPreferredDerp(); home < 0 || home > 0xffff {
		// The number travels as a port inside upstream.
		return nil, fmt.Errorf("home relay %d is out of range", home)
	}
	addresses, err := tunnelPrefixes(node.GetAddresses())
	if err != nil {
		return nil, fmt.Errorf("read addresses: %w", err)
	}
	if len(addresses) == 0 {
		return nil, errors.New("node has no address")
	}
	allowed, err := tunnelPrefixes(node.GetAllowedIps())
	if err != nil {
		return nil, fmt.Errorf("read allowed addresses: %w", err)
	}
	if len(allowed) == 0 {
		allowed = slices.Clone(addresses)
	}
	converted := &tailcfg.Node{
		ID: tailcfg.NodeID(node.GetId()), StableID: tailcfg.StableNodeID(id.String()), Name: id.String() + ".",
		Key: public, DiscoKey: disco, Addresses: addresses, AllowedIPs: allowed, HomeDERP: int(node.GetPreferredDerp()),
		MachineAuthorized: true, Hostinfo: (&tailcfg.Hostinfo{}).View(),
	}
	if direct {
		if converted.Endpoints, err = outsideEndpoints(node.GetEndpoints()); err != nil {
			return nil, err
		}
	}
	return converted, nil
}

// tunnelPrefixes reads single addresses inside the tunnel's two prefixes. A
// peer that claims anything wider could draw the host's other traffic to it.
func tunnelPrefixes(texts []string) ([]netip.Prefix, error) {
	if len(texts) > maxPeerAddresses {
		return nil, fmt.Errorf("%d prefixes, at most %d allowed", len(texts), maxPeerAddresses)
	}
	result := make([]netip.Prefix, 0, len(texts))
	for _, text := range texts {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("prefix %.64q is malformed", text)
		}
		addr := prefix.Addr()
		inside := proto.ServicePrefix.Contains(addr) || proto.TailscalePrefix.Contains(addr)
		if !prefix.IsSingleIP() || !inside || addr == proto.DNSAddr {
			return nil, fmt.Errorf("prefix %s is not an address of the tunnel", prefix)
		}
		if !slices.Contains(result, prefix) {
			result = append(result, prefix)
		}
	}
	return result, nil
}

func outsideEndpoints(texts []string) ([]netip.AddrPort, error) {
	result := make([]netip.AddrPort, 0, min(len(texts), maxPeerEndpoints))
	for _, text := range texts {
		endpoint, err := netip.ParseAddrPort(text)
		if err != nil {
			return nil, fmt.Errorf("endpoint %.64q is malformed", text)
		}
		if usableEndpoint(endpoint) && len(result) < maxPeerEndpoints {
			result = append(result, endpoint)
		}
	}
	return result, nil
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
