package control

import (
	"net/netip"
	"strings"
	"testing"

	"tailscale.com/tailcfg"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/tailnetv2"
)

func TestAnonymizerHashes(t *testing.T) {
	a := &Anonymizer{salt: "0123456789abcdef"}
	// printf %s 0123456789abcdef10.0.0.1 | sha256sum
	const want = "6543b2dfa31794c71d4d214e071f72fe4be96808ec7fa0ce479f7c582bd1db5c"
	if got := a.Hash("10.0.0.1"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if a.Hash("") != "" {
		t.Error("nothing has a hash")
	}
	one, two := NewAnonymizer(), NewAnonymizer()
	if len(one.salt) != 16 || len(two.salt) != 16 || one.Hash("x") == two.Hash("x") {
		t.Errorf("salts %q and %q", one.salt, two.salt)
	}
}

func TestAnonymizerClassesOfAddresses(t *testing.T) {
	tests := []struct {
		addr    string
		version int32
		class   tailnetv2.IPFields_IPClass
	}{
		{"127.0.0.1", 4, tailnetv2.IPFields_LOOPBACK},
		{"::1", 6, tailnetv2.IPFields_LOOPBACK},
		{"169.254.1.1", 4, tailnetv2.IPFields_LINK_LOCAL},
		{"224.0.0.251", 4, tailnetv2.IPFields_LINK_LOCAL},
		{"fe80::1", 6, tailnetv2.IPFields_LINK_LOCAL},
		{"ff02::1", 6, tailnetv2.IPFields_LINK_LOCAL},
		{"192.168.1.1", 4, tailnetv2.IPFields_PRIVATE},
		{"10.1.1.1", 4, tailnetv2.IPFields_PRIVATE},
		{"fd60::1", 6, tailnetv2.IPFields_PRIVATE},
		{"8.8.8.8", 4, tailnetv2.IPFields_PUBLIC},
		{"::ffff:8.8.8.8", 4, tailnetv2.IPFields_PUBLIC},
		{"2001:db8::1", 6, tailnetv2.IPFields_PUBLIC},
	}
	a := NewAnonymizer()
	for _, test := range tests {
		got := a.Endpoint(netip.AddrPortFrom(netip.MustParseAddr(test.addr), 4242))
		if got.GetFields().GetVersion() != test.version || got.GetFields().GetClass() != test.class || got.GetPort() != 4242 {
			t.Errorf("%s: got %v", test.addr, got)
		}
		if plain := netip.MustParseAddr(test.addr).Unmap().String(); got.GetHash() != a.Hash(plain) {
			t.Errorf("%s: hash %s", test.addr, got.GetHash())
		}
	}
	if got := a.Address(netip.Addr{}); got.GetHash() != "" || got.GetFields() != nil {
		t.Errorf("no address gives %v", got)
	}
	if a.Address(netip.MustParseAddr("fe80::1%eth0")).GetHash() != a.Hash("fe80::1") {
		t.Error("the name of an interface changes the hash")
	}
}

func TestAnonymizerHidesRelays(t *testing.T) {
	a := NewAnonymizer()
	relays := proto.RelayMap{DERPMap: &tailcfg.DERPMap{Regions: map[int]*tailcfg.DERPRegion{7: {
		RegionID: 7, RegionCode: "code", RegionName: "name",
		Nodes: []*tailcfg.DERPNode{{Name: "7a", RegionID: 7, HostName: "relay.corp.test", CertName: "cert.corp.test",
			IPv4: "192.0.2.7", IPv6: "not an address", STUNTestIP: "192.0.2.8", DERPPort: 8443}},
	}}}}
	got := a.RelayMap(relays)
	if text := got.String(); strings.Contains(text, "corp.test") || strings.Contains(text, "192.0.2") || strings.Contains(text, "not an") {
		t.Errorf("it shows: %s", text)
	}
	node := got.GetRegions()[7].GetNodes()[0]
	if node.GetHostName() != a.Hash("relay.corp.test") || node.GetCertName() != a.Hash("cert.corp.test") || node.GetIpv4() != a.Hash("192.0.2.7") ||
		node.GetIpv6() != "" || node.GetStunTestIp() != a.Hash("192.0.2.8") || node.GetDerpPort() != 8443 {
		t.Errorf("got %v", node)
	}
	if relays.Regions[7].Nodes[0].HostName != "relay.corp.test" {
		t.Error("the map in use was changed")
	}
}
