package tailnet

import (
	"context"
	"net/netip"
	"time"

	"tailscale.com/types/opt"
)

const (
	// reportWait is past the 5 s that upstream gives a measurement.
	reportWait, reportPoll = 6 * time.Second, 50 * time.Millisecond
)

// NetworkReport is what the STUN servers and relays told about the network.
// Nil stands for what is not known.
type NetworkReport struct {
	At                                        time.Time // zero: never
	UDP, IPv4, IPv6                           bool
	PublicIPv4, PublicIPv6                    netip.AddrPort
	MappingVaries, PortMapping, CaptivePortal *bool
	Latency                                   map[int]time.Duration // of relays, by region
	Endpoints                                 []netip.AddrPort
}

// MeasureNetwork asks the STUN servers and relays now. What is known from before
// is told if they take too long.
func (e *Engine) MeasureNetwork(ctx context.Context) NetworkReport {
	ctx, cancel := context.WithTimeout(ctx, reportWait)
	defer cancel()
	before := e.magic.GetLastNetcheckReport(ctx)
	e.magic.ReSTUN("netcheck-requested")
	ticker := time.NewTicker(reportPoll)
	defer ticker.Stop()
	for ctx.Err() == nil && e.magic.GetLastNetcheckReport(ctx) == before {
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
	_, latency := e.Home()
	out := NetworkReport{Latency: latency, Endpoints: e.publisher.endpoints()}
	report := e.magic.GetLastNetcheckReport(ctx)
	if report == nil {
		return out
	}
	out.At, out.UDP, out.IPv4, out.IPv6 = report.Now, report.UDP, report.IPv4, report.IPv6
	out.PublicIPv4, out.PublicIPv6 = report.GlobalV4, report.GlobalV6
	out.MappingVaries, out.CaptivePortal = known(report.MappingVariesByDestIP), known(report.CaptivePortal)
	if out.MappingVaries == nil && out.UDP {
		out.MappingVaries = e.mappingVaries(ctx)
	}
	for _, way := range []opt.Bool{report.UPnP, report.PMP, report.PCP} {
		if maps := known(way); maps != nil && (out.PortMapping == nil || *maps) {
			out.PortMapping = maps
		}
	}
	return out
}

func known(value opt.Bool) *bool {
	if set, ok := value.Get(); ok {
		return &set
	}
	return nil
}
