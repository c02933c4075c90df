package proto

import (
	"maps"
	"net/url"
	"slices"
	"strconv"

	"tailscale.com/tailcfg"

	"github.com/causewayhq/causeway/proto/tailnetv2"
)

// RelayMap is a relay map with the two facts that upstream's type cannot hold.
type RelayMap struct {
	*tailcfg.DERPMap
	// Embedded holds the regions whose relay is the control plane itself.
	Embedded map[int]bool
	// PlainHTTP holds the names of nodes that are reached without TLS.
	PlainHTTP map[string]bool
}

// RelayMapFromProto converts a map from the wire.
func RelayMapFromProto(message *tailnetv2.DERPMap) RelayMap {
	result := RelayMap{
		DERPMap:   &tailcfg.DERPMap{OmitDefaultRegions: true, Regions: map[int]*tailcfg.DERPRegion{}},
		Embedded:  map[int]bool{},
		PlainHTTP: map[string]bool{},
	}
	if scores := message.GetHomeParams().GetRegionScore(); len(scores) > 0 {
		result.HomeParams = &tailcfg.DERPHomeParams{RegionScore: map[int]float64{}}
		for id, score := range scores {
			result.HomeParams.RegionScore[int(id)] = score
		}
	}
	for id, region := range message.GetRegions() {
		converted := &tailcfg.DERPRegion{
			RegionID: int(id), RegionCode: region.GetRegionCode(), RegionName: region.GetRegionName(), Avoid: region.GetAvoid(),
		}
		for _, node := range region.GetNodes() {
			converted.Nodes = append(converted.Nodes, nodeFromProto(node))
			if node.GetForceHttp() {
				result.PlainHTTP[node.GetName()] = true
			}
		}
		result.Regions[int(id)] = converted
		if region.GetEmbeddedRelay() {
			result.Embedded[int(id)] = true
		}
	}
	return result
}

func nodeFromProto(node *tailnetv2.DERPMap_Region_Node) *tailcfg.DERPNode {
	return &tailcfg.DERPNode{
		Name: node.GetName(), RegionID: int(node.GetRegionId()), HostName: node.GetHostName(), CertName: node.GetCertName(),
		IPv4: node.GetIpv4(), IPv6: node.GetIpv6(), STUNPort: int(node.GetStunPort()), STUNOnly: node.GetStunOnly(),
		DERPPort: int(node.GetDerpPort()), InsecureForTests: node.GetInsecureForTests(), STUNTestIP: node.GetStunTestIp(),
		CanPort80: node.GetCanPort_80(),
	}
}

// Proto converts the map for the wire.
func (m RelayMap) Proto() *tailnetv2.DERPMap {
	message := &tailnetv2.DERPMap{Regions: map[int64]*tailnetv2.DERPMap_Region{}}
	if m.DERPMap == nil {
		return message
	}
	if m.HomeParams != nil {
		message.HomeParams = &tailnetv2.DERPMap_HomeParams{RegionScore: map[int64]float64{}}
		for id, score := range m.HomeParams.RegionScore {
			message.HomeParams.RegionScore[int64(id)] = score
		}
	}
	for id, region := range m.Regions {
		converted := &tailnetv2.DERPMap_Region{
			RegionId: int64(id), EmbeddedRelay: m.Embedded[id], RegionCode: region.RegionCode, RegionName: region.RegionName, Avoid: region.Avoid,
		}
		for _, node := range region.Nodes {
			converted.Nodes = append(converted.Nodes, &tailnetv2.DERPMap_Region_Node{
				Name: node.Name, RegionId: int64(node.RegionID), HostName: node.HostName, CertName: node.CertName,
				Ipv4: node.IPv4, Ipv6: node.IPv6, StunPort: int32(node.STUNPort), StunOnly: node.STUNOnly,
				DerpPort: int32(node.DERPPort), InsecureForTests: node.InsecureForTests, ForceHttp: m.PlainHTTP[node.Name],
				StunTestIp: node.STUNTestIP, CanPort_80: node.CanPort80,
			})
		}
		message.Regions[int64(id)] = converted
	}
	return message
}

// RewriteEmbedded points the relays that are the control plane itself at the
// access URL by which this client reached it (docs of the protocol, 1.9).
func (m RelayMap) RewriteEmbedded(access *url.URL) RelayMap {
	result := RelayMap{DERPMap: m.Clone(), Embedded: m.Embedded, PlainHTTP: maps.Clone(m.PlainHTTP)}
	if result.PlainHTTP == nil {
		result.PlainHTTP = map[string]bool{}
	}
	port := 443
	if access.Scheme == "http" {
		port = 80
	}
	if explicit, err := strconv.ParseUint(access.Port(), 10, 16); err == nil {
		port = int(explicit)
	}
	for id, region := range result.Regions {
		if !m.Embedded[id] {
			continue
		}
		for _, node := range region.Nodes {
			if node.STUNOnly {
				continue
			}
			node.HostName, node.DERPPort = access.Hostname(), port
			delete(result.PlainHTTP, node.Name)
			if access.Scheme == "http" {
				result.PlainHTTP[node.Name] = true
			}
		}
	}
	return result
}

// Equal says whether two maps are the same to a client: home parameters, the
// order of nodes and can_port_80 do not count (docs of the protocol, 1.9).
func (m RelayMap) Equal(other RelayMap) bool {
	if m.DERPMap == nil || other.DERPMap == nil {
		return false
	}
	if m.OmitDefaultRegions != other.OmitDefaultRegions || len(m.Regions) != len(other.Regions) {
		return false
	}
	for id, region := range m.Regions {
		twin, found := other.Regions[id]
		if !found || m.Embedded[id] != other.Embedded[id] || !m.regionEqual(region, other, twin) {
			return false
		}
	}
	return true
}

func (m RelayMap) regionEqual(region *tailcfg.DERPRegion, other RelayMap, twin *tailcfg.DERPRegion) bool {
	if region.RegionID != twin.RegionID || region.RegionCode != twin.RegionCode || region.RegionName != twin.RegionName ||
		region.Avoid != twin.Avoid || len(region.Nodes) != len(twin.Nodes) {
		return false
	}
	for _, node := range region.Nodes {
		at := slices.IndexFunc(twin.Nodes, func(n *tailcfg.DERPNode) bool { return n.Name == node.Name })
		if at < 0 || m.PlainHTTP[node.Name] != other.PlainHTTP[node.Name] {
			return false
		}
		left, right := *node, *twin.Nodes[at]
		left.CanPort80, right.CanPort80 = false, false
		if left != right {
			return false
		}
	}
	return true
}
