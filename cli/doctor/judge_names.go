package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/causewayhq/causeway/proto"
)

// modeResolved is status's word for split DNS by systemd-resolved.
const modeResolved = "resolved"

// stubs are the listeners of systemd-resolved.
var stubs = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 53}), netip.AddrFrom4([4]byte{127, 0, 0, 54})}

const stubRemedy = "if nothing else needs it, run: sudo ln -sf ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf"

func judgeResolver(f *Facts) Finding {
	n := f.Names
	conf := n.ResolvConf
	switch {
	case n.Mode == "":
		return nothing("the daemon has not configured names yet")
	case conf.Err != nil:
		return nothing("it could not be looked at: %s", conf.Err)
	case n.Resolved.Err != nil && n.Mode == modeResolved:
		return fail("the daemon uses systemd-resolved, which does not answer: "+n.Resolved.Err.Error(), "run: sudo systemctl restart systemd-resolved")
	case n.Direct.Silent && len(conf.Servers) > 0 && n.Resolved.Err != nil:
		return warn(fmt.Sprintf("the first name server of /etc/resolv.conf, %s, did not answer within %s: programs wait for it before they ask another; Causeway's own names do not need it (%s)",
			conf.Servers[0], directLimit, n.Mode), "it is not Causeway's: have it answer, or take it out of /etc/resolv.conf or of what writes that file")
	case n.Resolved.Err != nil:
		return well("there is no systemd-resolved; names are set by way of %s", n.Mode)
	case len(conf.Servers) > 0 && slices.Contains(stubs, conf.Servers[0]):
		return well("systemd-resolved answers all programs")
	}
	bypass := fmt.Sprintf("/etc/resolv.conf bypasses systemd-resolved: %s, and names %s", conf.origin(), conf.first())
	switch {
	case n.Libc.Asked && !n.Libc.Right && n.Mode == modeResolved:
		return fail(bypass+", which does not know our names", stubRemedy)
	case n.Direct.Right:
		return well("%s, and it answers for our names", bypass)
	case n.Mode == modeResolved:
		return warn(bypass+"; most programs reach our names by nss-resolve, but those that read the file themselves (dig, many written in Go) do not", stubRemedy)
	}
	return warn(fmt.Sprintf("%s; our names are set by way of %s instead, which programs that ask the server themselves (dig) do not see", bypass, n.Mode), stubRemedy)
}

// origin says where the file comes from.
func (c ResolvConf) origin() string {
	switch {
	case c.Target != "":
		return "it is a link to " + c.Target
	case c.Writer != "":
		return "it was written by " + c.Writer
	}
	return "it is a file of its own, written by hand or by another program"
}

func (c ResolvConf) first() string {
	if len(c.Servers) == 0 {
		return "no server"
	}
	return "the server " + c.Servers[0].String()
}

func judgeLinkDNS(f *Facts) Finding {
	n := f.Names
	if n.Mode != modeResolved || n.Resolved.Err != nil {
		return nothing("names are not set by way of systemd-resolved")
	}
	suffix := strings.ToLower(f.Tunnel.Status.GetSuffix())
	server := slices.Contains(n.Resolved.Servers, proto.DNSAddr)
	domain := slices.ContainsFunc(n.Resolved.Domains, func(text string) bool { return strings.TrimPrefix(text, "~") == suffix })
	name := f.Tunnel.Status.GetInterface()
	switch {
	case !server && !domain:
		return fail(fmt.Sprintf("systemd-resolved has no DNS settings for %s: something has removed them (resolvectl revert, a network manager)", name),
			"run: causeway doctor --fix").mendedBy(MendApply)
	case !server:
		return fail(fmt.Sprintf("systemd-resolved has lost the server %s of %s; it has %s", proto.DNSAddr, name, listed(n.Resolved.Servers)), "run: causeway doctor --fix").mendedBy(MendApply)
	case !domain:
		return fail(fmt.Sprintf("systemd-resolved has lost the domain %s of %s; it has %s", suffix, name, listed(n.Resolved.Domains)), "run: causeway doctor --fix").mendedBy(MendApply)
	}
	return well("%s is asked for *.%s", proto.DNSAddr, suffix)
}

func listed[T any](items []T) string {
	if len(items) == 0 {
		return "none"
	}
	return strings.Trim(fmt.Sprint(items), "[]")
}

// strict is the setting at which resolved asks no server without TLS.
const strict = "yes"

func judgeTLS(f *Facts) Finding {
	r := f.Names.Resolved
	if f.Names.Mode != modeResolved || r.Err != nil {
		return nothing("names are not set by way of systemd-resolved")
	}
	from := ""
	if len(r.TLSFiles) > 0 {
		from = " in " + strings.Join(r.TLSFiles, ", ")
	}
	switch {
	case r.LinkTLS == strict:
		return fail(fmt.Sprintf("systemd-resolved asks %s by TLS only%s, and the tunnel's resolver speaks none", f.Tunnel.Status.GetInterface(), from),
			"run: causeway doctor --fix").mendedBy(MendApply)
	case r.GlobalTLS == strict:
		return warn(fmt.Sprintf("DNSOverTLS=yes is set for the whole host%s: the tunnel's own names are exempt and work, but other names only resolve by servers that speak TLS", from),
			"if other names do not resolve, set DNSOverTLS=opportunistic there, and run: sudo systemctl restart systemd-resolved")
	}
	return well("not demanded of the tunnel's resolver")
}

func judgeNames(f *Facts) Finding {
	n := f.Names
	status := f.Tunnel.Status
	if f.Tunnel.Sentinel == "" || status.GetAddress() == "" {
		return nothing("the suffix is not known yet")
	}
	var cause string
	switch problem := f.Tunnel.problem("names-not-resolved"); {
	case n.Libc.Asked && !n.Libc.Right:
		cause = fmt.Sprintf("programs on this host do not get an answer for %s: %v", f.Tunnel.Sentinel, n.Libc.Err)
	case !n.Libc.Asked && problem != nil:
		cause = problem.GetCause()
	default:
		return well("*.%s answers in this host's own resolver (%s)", status.GetSuffix(), n.Mode)
	}
	return fail(cause, "run: causeway doctor --fix; if it does not last, another program replaces the host's DNS settings, and has to leave *."+
		status.GetSuffix()+" alone").mendedBy(MendApply)
}
