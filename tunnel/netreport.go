package tunnel

import (
	"context"
	"maps"
	"slices"

	"tailscale.com/tailcfg"

	"github.com/causewayhq/causeway/tailnet"
)

// NetworkReport is what was found out about the network, with the relays by
// their names.
type NetworkReport struct {
	tailnet.NetworkReport
	Relays []Relay // by region; without a latency where none was measured
}

// MeasureNetwork asks the STUN servers and relays of the deployment; measured is
// false without a data plane.
func (t *Tunnel) MeasureNetwork(ctx context.Context) (report NetworkReport, measured bool) {
	t.mu.Lock()
	running := t.live
	t.mu.Unlock()
	if running == nil {
		return NetworkReport{}, false
	}
	report.NetworkReport = running.engine.MeasureNetwork(ctx)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.saved.Relays.DERPMap == nil {
		return report, true
	}
	for _, id := range slices.Sorted(maps.Keys(t.saved.Relays.Regions)) {
		if relay := t.relay(id); relay != nil && !onlySTUN(t.saved.Relays.Regions[id]) {
			one := *relay
			one.Latency = report.Latency[id]
			report.Relays = append(report.Relays, one)
		}
	}
	return report, true
}

// onlySTUN is a region without a relay: it carries no packets.
func onlySTUN(region *tailcfg.DERPRegion) bool {
	return len(region.Nodes) > 0 && !slices.ContainsFunc(region.Nodes, func(node *tailcfg.DERPNode) bool { return !node.STUNOnly })
}
