package platform

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// parseGetent reads the output of "getent ahostsv6": an address, a socket type
// and at times a name in each line, each address once for each socket type. It
// also lists IPv4 addresses, mapped; an application that asks for IPv6 gets
// those as IPv4, so they come back as such.
func parseGetent(output string) ([]netip.Addr, error) {
	var list []netip.Addr
	for line := range strings.Lines(output) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		a, err := netip.ParseAddr(fields[0])
		if err != nil {
			return nil, fmt.Errorf("read the output of getent: %w", err)
		}
		if a = a.Unmap(); !slices.Contains(list, a) {
			list = append(list, a)
		}
	}
	return list, nil
}
