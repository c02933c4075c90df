package platform

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/causewayhq/causeway/netcfg"
)

func TestDropIn(t *testing.T) {
	text := dropIn(netcfg.DNS{
		Nameservers: []netip.Addr{ourServer[0], netip.MustParseAddr("192.0.2.1")},
		Suffixes:    []string{"zone.example", "coder", "coder"},
	})
	same(t, text, `# Written by causeway, and removed by it.
server=/coder/fd60:627a:a42b::53
server=/coder/192.0.2.1
server=/zone.example/fd60:627a:a42b::53
server=/zone.example/192.0.2.1
`)
	for content, want := range map[string]bool{
		text: true, dropInMark: true, "": false, "server=/coder/192.0.2.1\n": false, "\n" + text: false, dropInMark + " not": false,
	} {
		if isDropIn(content) != want {
			t.Errorf("%q", content)
		}
	}
}

// FuzzDropIn: no suffix that may be asked for can say more to dnsmasq than that
// it is a suffix.
func FuzzDropIn(f *testing.F) {
	f.Add("coder")
	f.Add("a/b\nserver=9.9.9.9")
	f.Add("a#b")
	f.Fuzz(func(t *testing.T, suffix string) {
		dns := netcfg.DNS{Nameservers: ourServer, Suffixes: []string{suffix}}
		if (netcfg.Config{Interface: "causeway0", DNS: dns}).Validate() != nil {
			return
		}
		lines := strings.Split(dropIn(dns), "\n")
		if len(lines) != 3 || lines[2] != "" || lines[1] != "server=/"+suffix+"/fd60:627a:a42b::53" || strings.Count(lines[1], "/") != 2 {
			t.Errorf("%q", lines)
		}
	})
}
