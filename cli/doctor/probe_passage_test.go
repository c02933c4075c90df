package doctor

import (
	"testing"

	"github.com/causewayhq/causeway/proto/localv1"
)

// TestForbids reads what nft lists; the rules of iptables-nft look the same.
func TestForbids(t *testing.T) {
	const ruleset = `table ip nat {
	chain post {
		oifname "causeway0" masquerade
		oifname "eth0" drop
	}
}
table inet filter {
	set causeway0 {
		elements = { "causeway0" drop }
	}
	chain output {
		type filter hook output priority filter; policy drop;
		oifname != "causeway0" drop
		oifname { "tun7", "causeway*" } meta l4proto udp counter drop
		ip6 daddr fd60:627a:a42b::/48 reject
	}
}
`
	for name, want := range map[string]string{
		"causeway0": `table inet filter, chain output: oifname { "tun7", "causeway*" } meta l4proto udp counter drop`,
		"eth0":      `table ip nat, chain post: oifname "eth0" drop`,
		"other0":    `table inet filter, chain output: ip6 daddr fd60:627a:a42b::/48 reject`,
	} {
		if got := forbids(ruleset, name); got != want {
			t.Errorf("forbids(%s) = %q", name, got)
		}
	}
	if got := forbids("", "causeway0"); got != "" {
		t.Errorf("forbids() of nothing = %q", got)
	}
}

// TestPassageUnknown: without an address there is nothing to ask.
func TestPassageUnknown(t *testing.T) {
	if got := (&Machine{}).Passage(t.Context(), Tunnel{Sentinel: "x.coder", Status: &localv1.Status{}}); got.Asked {
		t.Errorf("Passage() = %+v", got)
	}
}
