package doctor

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/causewayhq/causeway/proto"
)

func judgeInterface(f *Facts) Finding {
	h := f.Host
	switch {
	case h.Err != nil:
		return nothing("it could not be looked at: %s", h.Err)
	case !h.Exists && f.Tunnel.Status.GetAddress() == "":
		return nothing("the daemon has not made it yet")
	case !h.Exists:
		return fail(fmt.Sprintf("the interface %s is gone: something has removed it", h.Interface),
			"run: causeway doctor --fix, or causeway down && causeway up; find out what removes interfaces (NetworkManager, a script, another VPN)").mendedBy(MendCycle)
	case f.Tunnel.Status.GetAddress() == "":
		return nothing("the tunnel has no address yet")
	case !h.Up:
		return fail(fmt.Sprintf("the interface %s is down: something has switched it off", h.Interface),
			"run: causeway doctor --fix, or "+fmt.Sprintf(f.words.linkUp, h.Interface)).mendedBy(MendApply)
	case !h.Addressed && h.IPv6Off != "":
		return fail(fmt.Sprintf("the interface %s cannot have the tunnel's address %s: IPv6 is switched off (%s)", h.Interface, f.Tunnel.Status.GetAddress(), h.IPv6Off),
			"switch it on for this interface or for all, the daemon picks it up by itself: "+ipv6Remedy(h))
	case !h.Addressed:
		return fail(fmt.Sprintf("the interface %s lacks the tunnel's address %s: something has removed it", h.Interface, f.Tunnel.Status.GetAddress()),
			"run: causeway doctor --fix; find out what removes addresses (NetworkManager, a script, another VPN)").mendedBy(MendApply)
	}
	return well("%s is up with %s", h.Interface, f.Tunnel.Status.GetAddress())
}

// ipv6Remedy sets what is off; an interface does not follow "all" back by
// itself everywhere.
func ipv6Remedy(h Host) string {
	if strings.Contains(h.IPv6Off, "is missing") {
		return "boot the kernel with IPv6 (ipv6.disable=0)"
	}
	own := "net.ipv6.conf." + h.Interface + ".disable_ipv6=0"
	if strings.Contains(h.IPv6Off, "/all/") {
		return "sudo sysctl net.ipv6.conf.all.disable_ipv6=0 " + own
	}
	return "sudo sysctl " + own
}

func judgePassage(f *Facts) Finding {
	p := f.Passage
	name := f.Tunnel.Status.GetInterface()
	if !p.Asked {
		return nothing("the tunnel has no address or names yet")
	}
	if p.Err == nil {
		return well("the tunnel's resolver %s answers through %s", proto.DNSAddr, name)
	}
	what := fmt.Sprintf("this host does not let packets to %s pass through %s: %s", proto.DNSAddr, name, p.Err)
	if p.Silent {
		what = fmt.Sprintf("packets to %s through %s are not answered", proto.DNSAddr, name)
	}
	if p.Rule != "" {
		return fail(fmt.Sprintf("%s: a firewall drops them (%s)", what, p.Rule), fmt.Sprintf(firewallRemedy, name))
	}
	return fail(what+", although interface and route are right: most likely a firewall on this host drops them", fmt.Sprintf(firewallRemedy, name))
}

func judgeRoute(f *Facts) Finding {
	h := f.Host
	if f.Tunnel.Status.GetAddress() == "" || h.Asked == 0 {
		return nothing("the tunnel has no address yet")
	}
	if len(h.Astray) == 0 {
		return well("packets to the tunnel's addresses leave through %s", h.Interface)
	}
	first := h.Astray[0]
	if !h.OwnRoute && !first.foreign() {
		return fail(fmt.Sprintf("the route into %s is gone: something has removed it", h.Interface), "run: causeway doctor --fix").mendedBy(MendApply)
	}
	return Finding{Result: Failed, Code: 8, Cause: first.shadow(h), Remedy: first.remedy()}
}

// foreign says that a route of somebody else's leads right there, and not just
// a default route, which takes what has no other.
func (r Route) foreign() bool {
	return r.Interface != "" && r.Prefix != "" && !strings.HasSuffix(r.Prefix, "/0") || r.Rule != ""
}

// shadow says what takes the packets and whose it is.
func (r Route) shadow(h Host) string {
	text := fmt.Sprintf("packets to %s leave through %s", r.To, r.Interface)
	switch {
	case r.Program != "" && r.Guessed:
		text += fmt.Sprintf(", which by its name belongs to %s", r.Program)
	case r.Program != "":
		text += fmt.Sprintf(", which belongs to %s", r.Program)
	}
	text += ", not through " + h.Interface
	if r.Interface == "" {
		text = fmt.Sprintf("packets to %s go nowhere", r.To)
		if r.Err != nil {
			text += fmt.Sprintf(" (%s)", r.Err)
		}
	}
	switch {
	case r.Rule != "":
		text += fmt.Sprintf(": the policy rule %q comes before our route", r.Rule)
	case r.Prefix != "":
		text += fmt.Sprintf(": its route %s %s", r.Prefix, r.because(h))
	}
	if others := len(h.Astray) - 1; others > 0 {
		text += fmt.Sprintf(" (so do those to %d more of %d addresses)", others, h.Asked)
	}
	return text
}

// because says why the kernel prefers the route to ours.
func (r Route) because(h Host) string {
	prefix, err := netip.ParsePrefix(r.Prefix)
	switch ours := proto.ServicePrefix; {
	case err != nil:
		return "comes before ours"
	case !h.OwnRoute && prefix.Bits() == ours.Bits():
		return "stands in the place of ours"
	case !h.OwnRoute:
		return "takes them, and our own route is gone"
	case prefix.Bits() > ours.Bits():
		return "is more specific than ours, " + ours.String()
	case prefix.Bits() < ours.Bits():
		return "is preferred to ours by a policy rule"
	case r.Metric < h.OwnMetric:
		return fmt.Sprintf("has the metric %d, which is lower than our %d", r.Metric, h.OwnMetric)
	}
	return fmt.Sprintf("is the same as ours, with the same metric %d, and was there before", r.Metric)
}

func (r Route) remedy() string {
	whose := "the program that has " + r.Interface
	switch {
	case r.Program != "" && r.Guessed:
		whose += " (to judge by the name " + r.Program + ")"
	case r.Program != "":
		whose = r.Program
	}
	switch {
	case r.Rule != "":
		return fmt.Sprintf("stop %s, or have it leave out fd60:627a:a42b::/48; the rule is shown by: ip -6 rule", whose)
	case r.Interface == "":
		return "find the route or rule that forbids it: ip -6 route get " + r.To.String() + "; ip -6 rule"
	}
	return fmt.Sprintf("stop %s, or have it leave out fd60:627a:a42b::/48 (it sets %s on %s)", whose, r.Prefix, r.Interface)
}
