package platform

import (
	"slices"
	"strings"

	"github.com/causewayhq/causeway/netcfg"
)

// dropInMark is the first line of our drop-in, by which it is found and told
// from a file of somebody else's at the same path.
const dropInMark = "# Written by causeway, and removed by it."

// dropIn has dnsmasq ask our servers for names under our suffixes (dnsmasq(8),
// --server). Validate has seen to it that no value can hold a line end or "/".
func dropIn(dns netcfg.DNS) string {
	text := dropInMark + "\n"
	suffixes := slices.Clone(dns.Suffixes)
	slices.Sort(suffixes)
	for _, suffix := range slices.Compact(suffixes) {
		for _, server := range dns.Nameservers {
			text += "server=/" + suffix + "/" + server.String() + "\n"
		}
	}
	return text
}

func isDropIn(content string) bool {
	return strings.HasPrefix(content, dropInMark+"\n") || content == dropInMark
}
