package doctor

import "strings"

// makers are the beginnings of the names that programs give their interfaces
// unless they are told otherwise.
var makers = []struct{ prefix, maker string }{
	{"tailscale", "Tailscale"}, {"wg-mullvad", "Mullvad"}, {"wg0-mullvad", "Mullvad"}, {"nordlynx", "NordVPN"}, {"proton", "Proton VPN"},
	{"tun-firezone", "Firezone"}, {"wt", "NetBird"}, {"CloudflareWARP", "Cloudflare WARP"}, {"zt", "ZeroTier"}, {"cscotun", "Cisco Secure Client"},
	{"gpd", "GlobalProtect"}, {"ppp", "a PPP connection"}, {"ipsec", "IPsec"}, {"tun", "a VPN program such as OpenVPN"}, {"tap", "a VPN program such as OpenVPN"},
	{"wg", "WireGuard"}, {"utun", "a VPN program"},
}

// known guesses by the name of an interface; "" if it is nobody's usual one.
func known(name string) string {
	for _, one := range makers {
		if strings.HasPrefix(name, one.prefix) {
			return one.maker
		}
	}
	return ""
}
