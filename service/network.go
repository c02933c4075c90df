package service

import (
	"context"
	"net/netip"

	"github.com/causewayhq/causeway/proto/localv1"
	"github.com/causewayhq/causeway/tunnel"
)

// MeasureNetwork puts what the tunnel found into the words of the local API.
func (t *realTunnel) MeasureNetwork(ctx context.Context) *localv1.NetworkReport {
	if in, measured := t.Tunnel.MeasureNetwork(ctx); measured {
		return networkMessage(in)
	}
	return nil
}

func networkMessage(in tunnel.NetworkReport) *localv1.NetworkReport {
	out := &localv1.NetworkReport{
		At: timeMessage(in.At), Udp: in.UDP, Ipv4: in.IPv4, Ipv6: in.IPv6,
		PublicIpv4: endpointText(in.PublicIPv4), PublicIpv6: endpointText(in.PublicIPv6),
		MappingVaries: in.MappingVaries, PortMapping: in.PortMapping, CaptivePortal: in.CaptivePortal,
	}
	for _, relay := range in.Relays {
		out.Relays = append(out.Relays, relayMessage(&relay))
	}
	for _, endpoint := range in.Endpoints {
		out.Endpoints = append(out.Endpoints, endpoint.String())
	}
	return out
}

// endpointText is "" for one that is not known.
func endpointText(endpoint netip.AddrPort) string {
	if !endpoint.IsValid() {
		return ""
	}
	return endpoint.String()
}
