//go:build !linux

package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/causewayhq/causeway/proto"
)

// errNotHere is what only Linux has.
var errNotHere = errors.New("not on this operating system")

func interfaceExists(name string) bool {
	_, err := net.InterfaceByName(name)
	return err == nil
}

// firewallRemedy names no tool: there are several.
const firewallRemedy = "let packets of %s pass in this host's firewall"

// ruleset is nftables', which is not here.
func ruleset(context.Context) string { return "" }

// foreignInterface is not told apart here.
func foreignInterface(string) string { return "" }

// journal is systemd's, which is not here.
func journal(context.Context) string { return "" }

// unit is systemd's, which is not here.
func unit(context.Context) Unit { return Unit{} }

func processes(string) []int { return nil }

// Start is for systemd.
func (m *Machine) Start(context.Context) error { return errNotHere }

// Restart is for systemd.
func (m *Machine) Restart(context.Context) error { return errNotHere }

// Host finds the way to the resolver by the address that a socket would use,
// without a packet being sent.
func (m *Machine) Host(ctx context.Context, tunnel Tunnel) Host {
	h := Host{Interface: tunnel.Status.GetInterface(), OwnRoute: true}
	own, err := netip.ParseAddr(tunnel.Status.GetAddress())
	if err != nil {
		h.Err = errors.New("the tunnel has no address yet")
		return h
	}
	// The interface's name is chosen by the system (utun7), its address is ours.
	holder := holderOf(own)
	if holder == nil {
		h.Err = errors.New("the interface is not known by its name here")
		return h
	}
	h.Interface, h.Exists, h.Addressed, h.Up, h.Asked = holder.Name, true, true, holder.Flags&net.FlagUp != 0, 1
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "udp6", netip.AddrPortFrom(proto.DNSAddr, 53).String())
	if err != nil {
		h.Astray = []Route{{To: proto.DNSAddr, Err: err}}
		return h
	}
	defer conn.Close()
	local, ok := conn.LocalAddr().(*net.UDPAddr)
	if !ok || local.AddrPort().Addr().WithZone("") == own {
		return h
	}
	way := Route{To: proto.DNSAddr, Prefix: "unknown"}
	if other := holderOf(local.AddrPort().Addr().WithZone("")); other != nil {
		way.Interface, way.Program, way.Guessed = other.Name, known(other.Name), true
	}
	h.Astray = []Route{way}
	return h
}

// holderOf is the interface that has the address.
func holderOf(addr netip.Addr) *net.Interface {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil
	}
	for _, one := range interfaces {
		addrs, err := one.Addrs()
		if err == nil && slices.ContainsFunc(addrs, func(a net.Addr) bool {
			prefix, err := netip.ParsePrefix(a.String())
			return err == nil && prefix.Addr() == addr
		}) {
			return &one
		}
	}
	return nil
}

func askResolved(context.Context, string) Resolved { return Resolved{Err: errNotHere} }

func lookupLibc(ctx context.Context, name string) ([]netip.Addr, error) {
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip6", name)
	if err != nil {
		return nil, fmt.Errorf("look up %s: %w", name, err)
	}
	return addrs, nil
}
