package netcfg

import (
	"cmp"
	"net/netip"
	"slices"
)

// Changes is what must happen to a host in one state to reach another.
// Additions come before removals, so that there is never less than the smaller
// of both states.
type Changes struct {
	AddAddresses    []netip.Prefix
	RemoveAddresses []netip.Prefix
	AddRoutes       []netip.Prefix
	RemoveRoutes    []netip.Prefix
	// MTU, DNS: the parts differ and have to be set whole.
	MTU bool
	DNS bool
}

// IsZero reports that there is nothing to do.
func (c Changes) IsZero() bool {
	return len(c.AddAddresses)+len(c.RemoveAddresses)+len(c.AddRoutes)+len(c.RemoveRoutes) == 0 && !c.MTU && !c.DNS
}

// Diff says how to get from have to want. It is pure; the lists come sorted.
// The interface names are not compared: things on different interfaces have
// nothing in common, so a caller that sees them differ starts from zero.
func Diff(have, want Config) Changes {
	var c Changes
	c.AddAddresses, c.RemoveAddresses = DiffPrefixes(have.Addresses, want.Addresses)
	c.AddRoutes, c.RemoveRoutes = DiffPrefixes(masked(have.Routes), masked(want.Routes))
	c.MTU = want.MTU != 0 && have.MTU != want.MTU
	c.DNS = !have.DNS.Equal(want.DNS)
	return c
}

// DiffPrefixes compares two sets; order and repetition do not matter.
func DiffPrefixes(have, want []netip.Prefix) (add, remove []netip.Prefix) {
	return missing(have, want), missing(want, have)
}

// missing lists what is in want and not in have, sorted, each once.
func missing(have, want []netip.Prefix) []netip.Prefix {
	known := make(map[netip.Prefix]bool, len(have)+len(want))
	for _, p := range have {
		known[p] = true
	}
	var list []netip.Prefix
	for _, p := range want {
		if !known[p] {
			known[p] = true
			list = append(list, p)
		}
	}
	slices.SortFunc(list, comparePrefixes)
	return list
}

func comparePrefixes(a, b netip.Prefix) int {
	if c := a.Addr().Compare(b.Addr()); c != 0 {
		return c
	}
	return cmp.Compare(a.Bits(), b.Bits())
}

// masked returns the prefixes without host bits, which mean nothing in a route.
func masked(list []netip.Prefix) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, p := range list {
		out[i] = p.Masked()
	}
	return out
}

// Equal reports that both configurations want the same of the host. The order
// of addresses, routes and suffixes has no meaning, that of name servers has.
func (c Config) Equal(other Config) bool {
	return c.Interface == other.Interface && c.MTU == other.MTU &&
		samePrefixes(c.Addresses, other.Addresses) &&
		samePrefixes(masked(c.Routes), masked(other.Routes)) &&
		c.DNS.Equal(other.DNS)
}

func samePrefixes(a, b []netip.Prefix) bool {
	add, remove := DiffPrefixes(a, b)
	return len(add) == 0 && len(remove) == 0
}

// Equal compares servers in order, suffixes as sets, and hosts by identity.
func (d DNS) Equal(other DNS) bool { return d.SplitEqual(other) && d.Hosts == other.Hosts }

// SplitEqual compares what split DNS needs and leaves the hosts out, so that
// a new name need not disturb the system's resolver.
func (d DNS) SplitEqual(other DNS) bool {
	return d.Forward == other.Forward && slices.Equal(d.Nameservers, other.Nameservers) &&
		slices.Equal(sortedSet(d.Suffixes), sortedSet(other.Suffixes))
}

// IsZero reports that no names are wanted.
func (d DNS) IsZero() bool {
	return len(d.Nameservers) == 0 && len(d.Suffixes) == 0 && d.Hosts == nil
}

func sortedSet(list []string) []string {
	sorted := slices.Clone(list)
	slices.Sort(sorted)
	return slices.Compact(sorted)
}

// Clone returns a copy that shares no memory with c but the hosts, which never
// change.
func (c Config) Clone() Config {
	c.Addresses = slices.Clone(c.Addresses)
	c.Routes = slices.Clone(c.Routes)
	c.DNS.Nameservers = slices.Clone(c.DNS.Nameservers)
	c.DNS.Suffixes = slices.Clone(c.DNS.Suffixes)
	return c
}
