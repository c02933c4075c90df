package proto

import (
	"net/netip"
	"net/url"
	"testing"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"tailscale.com/tailcfg"

	"github.com/causewayhq/causeway/proto/tailnetv2"
)

// FuzzRelayMap gives a client the relay map of any control plane: it is read,
// written again without a change, and only its embedded relays are rewritten.
func FuzzRelayMap(f *testing.F) {
	for _, m := range []*tailnetv2.DERPMap{
		{},
		{HomeParams: &tailnetv2.DERPMap_HomeParams{RegionScore: map[int64]float64{-1: 0.5}}},
		{Regions: map[int64]*tailnetv2.DERPMap_Region{
			999: {RegionId: 999, EmbeddedRelay: true, Nodes: []*tailnetv2.DERPMap_Region_Node{{Name: "999b", RegionId: 999, HostName: "inside"}, {Name: "s", StunOnly: true}}},
			1:   {RegionId: 2, Nodes: []*tailnetv2.DERPMap_Region_Node{{Name: "s", HostName: "outside", ForceHttp: true, DerpPort: -1}, {}}},
		}},
	} {
		raw, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw, "https://control.test:8443/path")
		f.Add(raw, "http://[fd00::1]")
		f.Add(raw, "http://control.test:99999")
	}
	f.Add([]byte("\x12\x02\x08\x01"), "//:99999999999")
	f.Fuzz(func(t *testing.T, raw []byte, access string) {
		target, err := url.Parse(access)
		message := &tailnetv2.DERPMap{}
		if err != nil || proto.Unmarshal(raw, message) != nil {
			return
		}
		given := RelayMapFromProto(message)
		again := RelayMapFromProto(given.Proto())
		if !sameNames(given) && !given.Equal(again) {
			t.Errorf("%v comes back as %v", message, given.Proto())
		}
		checkRewrite(t, given, given.RewriteEmbedded(target), target)
	})
}

// sameNames says whether two nodes have one name, by which the facts about
// plain HTTP are kept, and nodes compared.
func sameNames(m RelayMap) bool {
	seen := map[string]bool{}
	for _, region := range m.Regions {
		for _, node := range region.Nodes {
			if seen[node.Name] {
				return true
			}
			seen[node.Name] = true
		}
	}
	return false
}

func checkRewrite(t *testing.T, given, rewritten RelayMap, access *url.URL) {
	t.Helper()
	if len(rewritten.Regions) != len(given.Regions) {
		t.Fatalf("%d regions became %d", len(given.Regions), len(rewritten.Regions))
	}
	for id, region := range given.Regions {
		for i, before := range region.Nodes {
			after := rewritten.Regions[id].Nodes[i]
			want := *before
			if given.Embedded[id] && !before.STUNOnly {
				want.HostName, want.DERPPort = access.Hostname(), after.DERPPort
				if after.DERPPort < 0 || after.DERPPort > 1<<16-1 {
					t.Errorf("%s has port %d", after.Name, after.DERPPort)
				}
			}
			if *after != want {
				t.Errorf("node %+v of region %d became %+v", before, id, after)
			}
		}
	}
}

// FuzzAddresses holds what the coordinator and the data plane rely on: an agent's
// addresses keep the last ten bytes of its id, and its node id is positive.
func FuzzAddresses(f *testing.F) {
	f.Add(make([]byte, 16))
	f.Add([]byte("\x11\x22\x33\x44\x55\x66\x77\x88\x80\x00\x00\x00\x00\x00\x00\x00"))
	f.Add([]byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		id, err := uuid.FromBytes(raw)
		if err != nil {
			return
		}
		if node := NodeIDFromUUID(id); node <= 0 || tailcfg.NodeID(node).IsZero() {
			t.Errorf("%s has node id %d", id, node)
		}
		addrs := AgentAddrs(id)
		for i, prefix := range [...]netip.Prefix{TailscalePrefix, ServicePrefix} {
			if bytes := addrs[i].As16(); !prefix.Contains(addrs[i]) || string(bytes[6:]) != string(raw[6:]) {
				t.Errorf("%s has address %s", id, addrs[i])
			}
		}
	})
}
