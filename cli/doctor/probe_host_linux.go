package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/localv1"
)

// routedAgents bounds the addresses whose ways are looked at, beside the
// resolver's: a look is a netlink call.
const routedAgents = 64

func interfaceExists(name string) bool {
	_, err := net.InterfaceByName(name)
	return err == nil
}

// foreignInterface says what an interface is that cannot be ours, "" of one
// that is or may be: a TUN device that nobody else holds. systemd keeps ours
// between two daemons.
func foreignInterface(name string) string {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return ""
	}
	switch kind := link.Type(); kind {
	case "tuntap":
	case "device": // has no kind
		return "an interface of another program"
	default:
		return fmt.Sprintf("a %s interface of another program", kind)
	}
	holder := tunHolder("/proc", name)
	if holder == "" || strings.HasPrefix(holder, "systemd (") || strings.HasPrefix(holder, "causewayd (") {
		return ""
	}
	return "a TUN device of " + holder
}

// Host reads the interface and asks the kernel for the ways into it.
func (m *Machine) Host(_ context.Context, tunnel Tunnel) Host {
	h := Host{Interface: tunnel.Status.GetInterface()}
	link, err := netlink.LinkByName(h.Interface)
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) {
		return h
	}
	if err != nil {
		h.Err = fmt.Errorf("look at %s: %w", h.Interface, err)
		return h
	}
	h.Exists, h.Up = true, link.Attrs().Flags&net.FlagUp != 0
	own, err := netip.ParseAddr(tunnel.Status.GetAddress())
	if err != nil {
		return h
	}
	addrs, err := netlink.AddrList(link, netlink.FAMILY_V6)
	if err != nil {
		h.Err = fmt.Errorf("list addresses of %s: %w", h.Interface, err)
		return h
	}
	for _, addr := range addrs {
		h.Addressed = h.Addressed || addr.IP.Equal(own.AsSlice())
	}
	if !h.Addressed {
		h.IPv6Off = ipv6Off("/proc/sys/net/ipv6", h.Interface)
	}
	h.OwnRoute, h.OwnMetric = hasRoute(link, proto.ServicePrefix)
	for _, to := range destinations(tunnel.Status, own) {
		h.Asked++
		if route, astray := wayTo(to, link.Attrs().Index); astray {
			h.Astray = append(h.Astray, route)
		}
	}
	return h
}

// destinations are what programs send to: the resolver, and agents.
func destinations(status *localv1.Status, own netip.Addr) []netip.Addr {
	list := []netip.Addr{proto.DNSAddr}
	for _, agent := range status.GetAgents() {
		for _, text := range agent.GetAddresses() {
			addr, err := netip.ParseAddr(text)
			if err == nil && proto.ServicePrefix.Contains(addr) && addr != own && len(list) <= routedAgents {
				list = append(list, addr)
			}
		}
	}
	return list
}

// ipv6Off is the setting that keeps IPv6 from an interface, "" if none does.
func ipv6Off(root, name string) string {
	if _, err := os.Stat(root); err != nil {
		return root + " is missing: this kernel runs without IPv6"
	}
	for _, scope := range []string{"all", name} {
		path := filepath.Join(root, "conf", scope, "disable_ipv6")
		if value, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(value)) == "1" {
			return path + " is 1"
		}
	}
	return ""
}

func hasRoute(link netlink.Link, prefix netip.Prefix) (found bool, metric int) {
	routes, err := netlink.RouteList(link, netlink.FAMILY_V6)
	if err != nil {
		return false, 0
	}
	for _, route := range routes {
		if route.Dst != nil && route.Dst.String() == prefix.String() && route.Type == unix.RTN_UNICAST {
			return true, route.Priority
		}
	}
	return false, 0
}

// wayTo asks the kernel how it would send to an address.
func wayTo(to netip.Addr, index int) (way Route, astray bool) {
	way = Route{To: to}
	routes, err := netlink.RouteGetWithOptions(to.AsSlice(), &netlink.RouteGetOptions{FIBMatch: true})
	if err != nil || len(routes) == 0 {
		way.Err = err
		return way, true
	}
	found := routes[0]
	if found.LinkIndex == index {
		return way, false
	}
	way.Table, way.Metric = found.Table, found.Priority
	if found.Dst != nil {
		way.Prefix = found.Dst.String()
	}
	if link, err := netlink.LinkByIndex(found.LinkIndex); err == nil {
		way.Interface = link.Attrs().Name
		way.Program, way.Guessed = program(link)
	}
	if found.Table != unix.RT_TABLE_MAIN && found.Table != unix.RT_TABLE_LOCAL {
		way.Rule = ruleTo(found.Table)
	}
	return way, true
}

// ruleTo is the first policy rule that leads to a table, as ip -6 rule has it.
func ruleTo(table int) string {
	rules, err := netlink.RuleList(netlink.FAMILY_V6)
	if err != nil {
		return ""
	}
	for _, rule := range rules {
		if rule.Table != table {
			continue
		}
		text := fmt.Sprintf("%d:", max(rule.Priority, 0))
		if rule.Src != nil {
			text += " from " + rule.Src.String()
		} else {
			text += " from all"
		}
		if rule.Dst != nil {
			text += " to " + rule.Dst.String()
		}
		if rule.Invert {
			text = strings.Replace(text, ": ", ": not ", 1)
		}
		if rule.Mark != 0 {
			text += fmt.Sprintf(" fwmark %#x", rule.Mark)
		}
		return fmt.Sprintf("%s lookup %d", text, table)
	}
	return ""
}

// program names who is behind an interface: the process that holds its TUN
// device open, which only root sees, or else whose interfaces have such names.
func program(link netlink.Link) (who string, guessed bool) {
	name := link.Attrs().Name
	if holder := tunHolder("/proc", name); holder != "" {
		return holder, false
	}
	if link.Type() == "wireguard" {
		return "WireGuard in the kernel", false
	}
	return known(name), true
}

// tunHolder finds the process that has a TUN device of the name: its
// descriptor's fdinfo says "iff: name" (drivers/net/tun.c, tun_chr_show_fdinfo).
func tunHolder(proc, name string) string {
	descriptors, err := filepath.Glob(proc + "/[0-9]*/fd/*")
	if err != nil {
		return ""
	}
	for _, descriptor := range descriptors {
		if target, err := os.Readlink(descriptor); err != nil || target != "/dev/net/tun" {
			continue
		}
		dir := filepath.Dir(filepath.Dir(descriptor))
		info, err := os.ReadFile(filepath.Join(dir, "fdinfo", filepath.Base(descriptor)))
		if err != nil || !strings.Contains(string(info), "iff:\t"+name+"\n") {
			continue
		}
		if comm, err := os.ReadFile(filepath.Join(dir, "comm")); err == nil {
			return fmt.Sprintf("%s (process %s)", strings.TrimSpace(string(comm)), filepath.Base(dir))
		}
	}
	return ""
}
