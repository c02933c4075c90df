package tailnet

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"tailscale.com/tailcfg"

	"github.com/causewayhq/causeway/proto"
)

// maxBorrowed bounds the STUN servers that a region gets from elsewhere:
// upstream asks no more than the first few.
const maxBorrowed = 3

// regionPlan is a relay map in a form that upstream can live with. Upstream
// takes any region that answers for a home, also one that has STUN servers
// only, and asks relays by HTTPS only when no STUN server at all answers. So
// the regions without a relay vanish here, and their servers are lent to those
// that have one.
type regionPlan struct {
	relays proto.RelayMap
	// homes are the regions that may be our home, in order.
	homes []int
	// measured says that the latencies upstream finds may be those of lent
	// servers: we measure the relays ourselves, and choose the home by that.
	measured bool
}

// planRegions makes a plan. The map given is not changed.
func planRegions(relays proto.RelayMap) regionPlan {
	plan := regionPlan{relays: proto.RelayMap{DERPMap: relays.Clone(), Embedded: relays.Embedded, PlainHTTP: relays.PlainHTTP}}
	regions := plan.relays.Regions
	var foreign, own []*tailcfg.DERPNode
	for _, id := range slices.Sorted(maps.Keys(regions)) {
		region := regions[id]
		dropInside(region)
		switch {
		case region == nil:
			delete(regions, id)
			continue
		case !hasRelay(region):
			foreign = append(foreign, stunServers(region)...)
			delete(regions, id)
			continue
		}
		servers := stunServers(region)
		own = append(own, servers...)
		plan.measured = plan.measured || len(servers) == 0
		plan.homes = append(plan.homes, id)
	}
	plan.measured = plan.measured || len(foreign) > 0
	// Regions to be avoided are homes only if there are no others.
	if rest := slices.DeleteFunc(slices.Clone(plan.homes), func(id int) bool { return regions[id].Avoid }); len(rest) > 0 {
		plan.homes = rest
	}
	if plan.measured {
		for _, region := range regions {
			lend(region, slices.Concat(foreign, own))
		}
	}
	return plan
}

// lend gives a region STUN servers of others. Its own come first. The relays
// of one that has none come last: upstream asks the nodes in order, 100 ms apart.
func lend(region *tailcfg.DERPRegion, servers []*tailcfg.DERPNode) {
	var lent []*tailcfg.DERPNode
	for _, server := range servers {
		known := slices.ContainsFunc(slices.Concat(region.Nodes, lent), func(n *tailcfg.DERPNode) bool {
			return n.STUNPort >= 0 && n.HostName == server.HostName && n.STUNPort == server.STUNPort && n.STUNTestIP == server.STUNTestIP
		})
		if known || len(lent) == maxBorrowed {
			continue
		}
		copied := *server
		// Upstream finds nodes by name, in the whole map.
		copied.Name = fmt.Sprintf("%s-for-%d", server.Name, region.RegionID)
		copied.RegionID, copied.STUNOnly, copied.CanPort80 = region.RegionID, true, false
		lent = append(lent, &copied)
	}
	if len(stunServers(region)) == 0 {
		region.Nodes = append(lent, region.Nodes...)
		return
	}
	region.Nodes = append(region.Nodes, lent...)
}

func hasRelay(region *tailcfg.DERPRegion) bool {
	return slices.ContainsFunc(region.Nodes, func(n *tailcfg.DERPNode) bool { return !n.STUNOnly })
}

// stunServers are a region's nodes that announce STUN.
func stunServers(region *tailcfg.DERPRegion) []*tailcfg.DERPNode {
	return slices.DeleteFunc(slices.Clone(region.Nodes), func(n *tailcfg.DERPNode) bool { return n.STUNPort < 0 })
}

// Upstream's own limits for leaving a home that still answers, so that two
// relays at the same distance do not take turns.
const (
	homeGain      = 10 * time.Millisecond
	homeGainShare = 2.0 / 3
)

// choose picks the home by measured latencies, 0 if none is known. The current
// one stays unless another is clearly nearer.
func (p regionPlan) choose(current int, latency map[int]time.Duration) int {
	scaled := func(id int) (time.Duration, bool) {
		took, known := latency[id]
		if p.relays.HomeParams != nil {
			if score := p.relays.HomeParams.RegionScore[id]; score > 0 {
				took = time.Duration(float64(took) * score)
			}
		}
		return took, known
	}
	best, nearest := 0, time.Duration(0)
	for _, id := range p.homes {
		if took, known := scaled(id); known && (best == 0 || took < nearest) {
			best, nearest = id, took
		}
	}
	if took, known := scaled(current); known && slices.Contains(p.homes, current) &&
		(took-nearest < homeGain || nearest > time.Duration(float64(took)*homeGainShare)) {
		return current
	}
	return best
}

// dropInside takes out the nodes whose address is inside the tunnel itself:
// what we send there would come back to us. A name that leads there is refused
// when it is dialled.
func dropInside(region *tailcfg.DERPRegion) {
	if region == nil {
		return
	}
	region.Nodes = slices.DeleteFunc(region.Nodes, func(node *tailcfg.DERPNode) bool {
		return node != nil && slices.ContainsFunc([]string{node.HostName, node.IPv4, node.IPv6, node.STUNTestIP}, func(text string) bool {
			addr, err := netip.ParseAddr(text)
			return err == nil && inTunnel(addr.Unmap())
		})
	})
}
