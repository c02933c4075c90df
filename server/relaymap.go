package server

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"tailscale.com/tailcfg"

	"github.com/causewayhq/causeway/proto"
)

// The embedded region, as every client of the protocol knows it (docs of the
// protocol, 1.10).
const (
	embeddedRegion = 999
	embeddedNode   = "999b"
)

// relayMap is the embedded relay, or those named in its place, and the STUN servers that were named. Clients rewrite its host and port to
// the URL by which they reached us, so a proxy with TLS in front needs no
// setting here. Unlike the protocol's default, the node announces STUN when our
// STUN listener is on: a deployment of ours needs no other server then. Where a
// proxy in front carries no UDP the probe gets no answer there, and the setting
// stun-servers says where else we are reached.
func (s *Server) relayMap() proto.RelayMap {
	result := proto.RelayMap{
		DERPMap:  &tailcfg.DERPMap{OmitDefaultRegions: true, Regions: map[int]*tailcfg.DERPRegion{}},
		Embedded: map[int]bool{}, PlainHTTP: map[string]bool{},
	}
	for i, relay := range s.config.Relays {
		addRelay(result, i+1, relay)
	}
	if len(s.config.Relays) == 0 {
		s.addEmbedded(result)
	}
	for i, server := range s.config.STUNServers {
		id := embeddedRegion + i + 1
		result.Regions[id] = stunRegion(id, i+1, server)
	}
	return result
}

func (s *Server) addEmbedded(to proto.RelayMap) {
	node := &tailcfg.DERPNode{
		Name: embeddedNode, RegionID: embeddedRegion, HostName: s.access.Hostname(), DERPPort: accessPort(s.access), STUNPort: -1,
	}
	if addr, ok := s.STUNAddr().(*net.UDPAddr); ok {
		node.STUNPort = addr.Port
	}
	to.Regions[embeddedRegion] = &tailcfg.DERPRegion{
		RegionID: embeddedRegion, RegionCode: "coder", RegionName: "Coder Embedded Relay", Nodes: []*tailcfg.DERPNode{node},
	}
	to.Embedded[embeddedRegion] = true
	if s.access.Scheme == "http" {
		to.PlainHTTP[embeddedNode] = true
	}
}

// addRelay adds a region of one relay that runs elsewhere. It is asked for STUN
// at its usual port, where upstream's relay answers too.
func addRelay(to proto.RelayMap, id int, relay *url.URL) {
	node := &tailcfg.DERPNode{Name: strconv.Itoa(id) + "a", RegionID: id, HostName: relay.Hostname(), DERPPort: accessPort(relay)}
	to.Regions[id] = &tailcfg.DERPRegion{
		RegionID: id, RegionCode: "relay_" + strconv.Itoa(id), RegionName: "Relay " + relay.Host, Nodes: []*tailcfg.DERPNode{node},
	}
	if relay.Scheme == "http" {
		to.PlainHTTP[node.Name] = true
	}
}

// ParseRelays reads the URLs of relays. Two that lead to the same host and port
// are one relay, whatever their scheme.
func ParseRelays(texts []string) ([]*url.URL, error) {
	var relays []*url.URL
	seen := map[string]bool{}
	for _, text := range texts {
		relay, err := parseRelay(text)
		if err != nil {
			return nil, &SettingError{"relays", err}
		}
		place := net.JoinHostPort(strings.ToLower(relay.Hostname()), strconv.Itoa(accessPort(relay)))
		if seen[place] {
			return nil, &SettingError{"relays", fmt.Errorf("%s leads to %s, which is named already; name each relay once", relay.Redacted(), place)}
		}
		seen[place] = true
		relays = append(relays, relay)
	}
	return relays, nil
}

// parseRelay does not repeat a text with a password in it.
func parseRelay(text string) (*url.URL, error) {
	const want = "want scheme, host and port only, such as https://relay.example.com"
	relay, err := url.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("parse URL: %w; %s", errors.Unwrap(err), want)
	}
	if relay.Scheme != "http" && relay.Scheme != "https" || relay.Hostname() == "" || strings.Trim(relay.Path, "/") != "" ||
		relay.RawQuery != "" || relay.Fragment != "" || relay.User != nil {
		return nil, fmt.Errorf("parse %q: %s", relay.Redacted(), want)
	}
	if port := accessPort(relay); port < 1 || port > 65535 {
		return nil, fmt.Errorf("parse %q: port %s does not exist; want 1 to 65535", relay.Redacted(), relay.Port())
	}
	return relay, nil
}

// stunRegion is a region with nothing but a STUN server, named as the protocol
// has it; clients never make it their home.
func stunRegion(id, number int, server netip.AddrPort) *tailcfg.DERPRegion {
	node := &tailcfg.DERPNode{
		Name: strconv.Itoa(id) + "stun0", RegionID: id, HostName: server.Addr().String(), STUNPort: int(server.Port()), STUNOnly: true,
	}
	if server.Addr().Is4() {
		node.IPv4 = node.HostName
	} else {
		node.IPv6 = node.HostName
	}
	return &tailcfg.DERPRegion{
		RegionID: id, RegionCode: "coder_stun_" + strconv.Itoa(number), RegionName: "Coder STUN " + strconv.Itoa(number), Nodes: []*tailcfg.DERPNode{node},
	}
}

// ParseSTUNServers reads addresses with ports. It resolves nothing: a name would have to be found by clients
// whose resolver may be what is broken.
func ParseSTUNServers(texts []string) ([]netip.AddrPort, error) {
	var servers []netip.AddrPort
	for _, text := range texts {
		server, err := netip.ParseAddrPort(text)
		if err != nil || server.Port() == 0 {
			return nil, &SettingError{"stun-servers", fmt.Errorf("parse %q: want ADDRESS:PORT, such as 192.0.2.7:3478", text)}
		}
		servers = append(servers, server)
	}
	return servers, nil
}
