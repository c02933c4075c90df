package doctor

import (
	"fmt"
	"strings"
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
			"run: causeway doctor --fix, or sudo ip link set "+h.Interface+" up").mendedBy(MendApply)
	case !h.Addressed:
		return fail(fmt.Sprintf("the interface %s lacks the tunnel's address %s: something has removed it, or IPv6 is switched off", h.Interface, f.Tunnel.Status.GetAddress()),
			"run: causeway doctor --fix; if that does not help: sysctl net.ipv6.conf.all.disable_ipv6 net.ipv6.conf."+h.Interface+".disable_ipv6").mendedBy(MendApply)
	}
	return well("%s is up with %s", h.Interface, f.Tunnel.Status.GetAddress())
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
	if r.Program != "" {
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
		text += fmt.Sprintf(": its route %s is more specific than ours or was there before", r.Prefix)
	}
	if others := len(h.Astray) - 1; others > 0 {
		text += fmt.Sprintf(" (so do those to %d more of %d addresses)", others, h.Asked)
	}
	return text
}

func (r Route) remedy() string {
	whose := "the other VPN"
	if r.Program != "" {
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
