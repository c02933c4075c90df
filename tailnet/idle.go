package tailnet

import (
	"net/netip"

	"go4.org/netipx"
	"tailscale.com/net/dns"
	"tailscale.com/net/packet"
	"tailscale.com/net/tstun"
	"tailscale.com/types/ipproto"
	"tailscale.com/types/logger"
	"tailscale.com/types/views"
	"tailscale.com/wgengine/filter"
	"tailscale.com/wgengine/netstack/gro"
	"tailscale.com/wgengine/router"
)

// idleRouter leaves the host's addresses and routes to netcfg.
type idleRouter struct{}

func (idleRouter) Up() error                { return nil }
func (idleRouter) Set(*router.Config) error { return nil }
func (idleRouter) Close() error             { return nil }

// idleDNS leaves the host's resolver to netcfg. Upstream's configurators would
// also clash with an installed Tailscale.
type idleDNS struct{}

func (idleDNS) SetDNS(dns.OSConfig) error { return nil }
func (idleDNS) SupportsSplitDNS() bool    { return false }
func (idleDNS) GetBaseConfig() (dns.OSConfig, error) {
	return dns.OSConfig{}, dns.ErrGetBaseConfigNotSupported
}
func (idleDNS) Close() error { return nil }

// allowLocal lets in everything that is for our own addresses: who may reach
// us is decided by the control plane, which hands out the keys.
func allowLocal(addresses []netip.Prefix, logf logger.Logf) *filter.Filter {
	everywhere := []netip.Prefix{netip.MustParsePrefix("::/0")}
	all := filter.Match{
		IPProto:      views.SliceOf([]ipproto.Proto{ipproto.TCP, ipproto.UDP, ipproto.ICMPv6, ipproto.SCTP}),
		Srcs:         everywhere,
		SrcsContains: func(addr netip.Addr) bool { return addr.Is6() },
		Dsts:         []filter.NetPortRange{{Net: everywhere[0], Ports: filter.PortRange{First: 0, Last: 65535}}},
	}
	var local netipx.IPSetBuilder
	for _, prefix := range addresses {
		local.AddPrefix(prefix)
	}
	// Adding valid prefixes cannot fail.
	set, _ := local.IPSet()
	return filter.New([]filter.Match{all}, nil, set, nil, nil, logf)
}

// intercept takes the packets for the service out of the host's stream.
func (s *Service) intercept(p *packet.Parsed, _ *tstun.Wrapper, batch *gro.GRO) (filter.Response, *gro.GRO) {
	if p.Dst.Addr() != s.Addr {
		return filter.Accept, batch
	}
	s.Handle(p.Buffer())
	return filter.DropSilently, batch
}

// SendToHost puts a whole IP packet into the device as if it had come through
// the tunnel. The packet is copied.
func (e *Engine) SendToHost(packet []byte) error {
	return e.system.Tun.Get().InjectInboundCopy(packet)
}
