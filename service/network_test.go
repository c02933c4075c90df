package service

import (
	"net/netip"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/causewayhq/causeway/proto/localv1"
	"github.com/causewayhq/causeway/tailnet"
	"github.com/causewayhq/causeway/tunnel"
)

// TestNetworkMessage: each fact arrives as what it is, and what is not known as
// not known.
func TestNetworkMessage(t *testing.T) {
	yes, no := true, false
	at := time.Unix(1700000000, 0)
	for name, c := range map[string]struct {
		in   tunnel.NetworkReport
		want *localv1.NetworkReport
	}{
		"nothing": {tunnel.NetworkReport{}, &localv1.NetworkReport{}},
		"all": {
			tunnel.NetworkReport{
				NetworkReport: tailnet.NetworkReport{
					At: at, UDP: true, IPv4: true, PublicIPv4: netip.MustParseAddrPort("192.0.2.1:7"), PublicIPv6: netip.MustParseAddrPort("[2001:db8::1]:8"),
					MappingVaries: &yes, PortMapping: &no, Endpoints: []netip.AddrPort{netip.MustParseAddrPort("10.0.0.1:9")},
				},
				Relays: []tunnel.Relay{{RegionID: 1, Code: "a", Name: "A", Latency: time.Second}, {RegionID: 2}},
			},
			&localv1.NetworkReport{
				At: timestamppb.New(at), Udp: true, Ipv4: true, PublicIpv4: "192.0.2.1:7", PublicIpv6: "[2001:db8::1]:8",
				MappingVaries: proto.Bool(true), PortMapping: proto.Bool(false), Endpoints: []string{"10.0.0.1:9"},
				Relays: []*localv1.Relay{{RegionId: 1, Code: "a", Name: "A", Latency: durationpb.New(time.Second)}, {RegionId: 2}},
			},
		},
		"captive": {
			tunnel.NetworkReport{NetworkReport: tailnet.NetworkReport{IPv6: true, CaptivePortal: &yes}},
			&localv1.NetworkReport{Ipv6: true, CaptivePortal: proto.Bool(true)},
		},
	} {
		if got := networkMessage(c.in); !proto.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
