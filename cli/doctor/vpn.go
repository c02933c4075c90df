package doctor

import "net"

// VPN is an interface that looks like another VPN's.
type VPN struct {
	Interface string
	Maker     string // by its usual name
}

// VPNs are the interfaces that are up and named as VPN programs name theirs, but
// for our own.
func VPNs(interfaces []net.Interface, own string) []VPN {
	var found []VPN
	for _, one := range interfaces {
		if one.Name == own || one.Flags&net.FlagUp == 0 {
			continue
		}
		if maker := known(one.Name); maker != "" {
			found = append(found, VPN{one.Name, maker})
		}
	}
	return found
}
