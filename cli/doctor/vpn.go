package doctor

import (
	"net"
	"slices"
)

// VPN is an interface that looks like another VPN's.
type VPN struct {
	Interface string
	Maker     string // by its usual name
}

// VPNs are the interfaces that are up, named as VPN programs name theirs, and
// have an address to send from: the taps of virtual machines and the utuns that
// macOS keeps for itself have none. Ours is left out.
func VPNs(interfaces []net.Interface, own string, addresses func(*net.Interface) ([]net.Addr, error)) []VPN {
	var found []VPN
	for _, one := range interfaces {
		if one.Name == own || one.Flags&net.FlagUp == 0 {
			continue
		}
		if maker := known(one.Name); maker != "" && sends(addresses(&one)) {
			found = append(found, VPN{one.Name, maker})
		}
	}
	return found
}

// sends says whether one of the addresses reaches beyond the link. What cannot
// be asked for is taken for one that does.
func sends(addresses []net.Addr, err error) bool {
	return err != nil || slices.ContainsFunc(addresses, func(address net.Addr) bool {
		network, ok := address.(*net.IPNet)
		return ok && !network.IP.IsLinkLocalUnicast()
	})
}
