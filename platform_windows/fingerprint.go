package platform

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// fingerprint describes the network without us: the links that are up, their
// addresses, and the routes that somebody set.
func fingerprint(now snapshot, own luid) string {
	up := map[luid]bool{}
	var lines []string
	for _, l := range now.Links {
		if l.LUID != own && l.Up {
			up[l.LUID] = true
			lines = append(lines, "link "+l.Name)
		}
	}
	for _, a := range now.Addresses {
		if up[a.LUID] {
			lines = append(lines, fmt.Sprintf("address %s on %s", a.Prefix, now.name(a.LUID)))
		}
	}
	for _, r := range now.Routes {
		if up[r.LUID] && !r.Kernel {
			lines = append(lines, fmt.Sprintf("route %s via %s on %s metric %d", r.Prefix, hop(r.NextHop), now.name(r.LUID), r.Metric))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func hop(a netip.Addr) string {
	if a.IsUnspecified() {
		return "on-link"
	}
	return a.String()
}
