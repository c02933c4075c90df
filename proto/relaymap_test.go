package proto

import (
	"net/url"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/causewayhq/causeway/proto/tailnetv2"
)

func exampleMap() *tailnetv2.DERPMap {
	return &tailnetv2.DERPMap{
		HomeParams: &tailnetv2.DERPMap_HomeParams{RegionScore: map[int64]float64{999: 0.5}},
		Regions: map[int64]*tailnetv2.DERPMap_Region{
			999: {RegionId: 999, EmbeddedRelay: true, RegionCode: "coder", RegionName: "Coder Embedded Relay", Nodes: []*tailnetv2.DERPMap_Region_Node{
				{Name: "999b", RegionId: 999, HostName: "old.example", DerpPort: 1, StunPort: 3478, CanPort_80: true},
			}},
			1000: {RegionId: 1000, RegionCode: "coder_stun_1", RegionName: "Coder STUN 1", Avoid: true, Nodes: []*tailnetv2.DERPMap_Region_Node{
				{
					Name: "1000stun0", RegionId: 1000, HostName: "stun.example", CertName: "c", Ipv4: "192.0.2.1", Ipv6: "2001:db8::1",
					StunPort: 3478, StunOnly: true, DerpPort: 443, InsecureForTests: true, ForceHttp: true, StunTestIp: "192.0.2.2",
				},
			}},
		},
	}
}

func TestRelayMapKeepsEveryField(t *testing.T) {
	want := exampleMap()
	if got := RelayMapFromProto(want).Proto(); !proto.Equal(got, want) {
		t.Errorf("there and back:\n got %v\nwant %v", got, want)
	}
}

func TestRewriteEmbedded(t *testing.T) {
	for access, want := range map[string]struct {
		host  string
		port  int32
		plain bool
	}{
		"https://coder.example":      {"coder.example", 443, false},
		"http://coder.example":       {"coder.example", 80, true},
		"http://192.0.2.7:7080":      {"192.0.2.7", 7080, true},
		"https://[2001:db8::1]:8443": {"2001:db8::1", 8443, false},
	} {
		parsed, err := url.Parse(access)
		if err != nil {
			t.Fatal(err)
		}
		before := RelayMapFromProto(exampleMap())
		after := before.RewriteEmbedded(parsed).Proto()
		node := after.Regions[999].Nodes[0]
		if node.HostName != want.host || node.DerpPort != want.port || node.ForceHttp != want.plain {
			t.Errorf("%s: got %s port %d plain %v, want %+v", access, node.HostName, node.DerpPort, node.ForceHttp, want)
		}
		if other := after.Regions[1000].Nodes[0]; other.HostName != "stun.example" || !other.ForceHttp {
			t.Errorf("%s: a region that is not embedded was changed: %v", access, other)
		}
		if !proto.Equal(before.Proto(), exampleMap()) {
			t.Errorf("%s: the map it was asked of was changed", access)
		}
	}
}

func TestRelayMapEqual(t *testing.T) {
	changes := map[string]struct {
		change func(*tailnetv2.DERPMap)
		equal  bool
	}{
		"nothing":      {func(*tailnetv2.DERPMap) {}, true},
		"home scores":  {func(m *tailnetv2.DERPMap) { m.HomeParams = nil }, true},
		"can port 80":  {func(m *tailnetv2.DERPMap) { m.Regions[999].Nodes[0].CanPort_80 = false }, true},
		"a region":     {func(m *tailnetv2.DERPMap) { delete(m.Regions, 1000) }, false},
		"region name":  {func(m *tailnetv2.DERPMap) { m.Regions[999].RegionName = "x" }, false},
		"embedded":     {func(m *tailnetv2.DERPMap) { m.Regions[999].EmbeddedRelay = false }, false},
		"avoid":        {func(m *tailnetv2.DERPMap) { m.Regions[999].Avoid = true }, false},
		"node host":    {func(m *tailnetv2.DERPMap) { m.Regions[999].Nodes[0].HostName = "x" }, false},
		"node http":    {func(m *tailnetv2.DERPMap) { m.Regions[999].Nodes[0].ForceHttp = true }, false},
		"node renamed": {func(m *tailnetv2.DERPMap) { m.Regions[999].Nodes[0].Name = "x" }, false},
		"node added": {func(m *tailnetv2.DERPMap) {
			m.Regions[999].Nodes = append(m.Regions[999].Nodes, &tailnetv2.DERPMap_Region_Node{Name: "y"})
		}, false},
	}
	for name, test := range changes {
		changed := exampleMap()
		test.change(changed)
		if got := RelayMapFromProto(exampleMap()).Equal(RelayMapFromProto(changed)); got != test.equal {
			t.Errorf("%s changed: equal is %v, want %v", name, got, test.equal)
		}
	}
	if (RelayMap{}).Equal(RelayMap{}) {
		t.Error("no map equals no map; want always different")
	}
}
