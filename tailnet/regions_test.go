package tailnet

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"tailscale.com/tailcfg"

	"github.com/causewayhq/causeway/proto"
)

func relayNode(name string, stun int) *tailcfg.DERPNode {
	return &tailcfg.DERPNode{Name: name, HostName: name + ".example", STUNPort: stun, CanPort80: true}
}

func stunOnly(name string, port int) *tailcfg.DERPNode {
	return &tailcfg.DERPNode{Name: name, HostName: name + ".example", STUNPort: port, STUNOnly: true}
}

func regionMap(regions map[int][]*tailcfg.DERPNode) proto.RelayMap {
	relays := proto.RelayMap{DERPMap: &tailcfg.DERPMap{Regions: map[int]*tailcfg.DERPRegion{}}, Embedded: map[int]bool{999: true}}
	for id, nodes := range regions {
		relays.Regions[id] = &tailcfg.DERPRegion{RegionID: id, Nodes: nodes}
		for _, node := range nodes {
			node.RegionID = id
		}
	}
	return relays
}

func TestPlanRegions(t *testing.T) {
	type regions = map[int][]*tailcfg.DERPNode
	for name, test := range map[string]struct {
		given regions
		avoid []int
		// want are the names of the nodes by region, in order.
		want     map[int]string
		homes    []int
		measured bool
	}{
		"no regions": {given: regions{}, want: map[int]string{}},
		"one relay with STUN": {
			given: regions{999: {relayNode("a", 0)}},
			want:  map[int]string{999: "a"}, homes: []int{999},
		},
		"a real deployment: embedded relay without STUN, servers elsewhere": {
			given: regions{999: {relayNode("a", -1)}, 1000: {stunOnly("s", 19302)}, 1001: {stunOnly("t", 0)}},
			want:  map[int]string{999: "s-for-999 t-for-999 a"}, homes: []int{999}, measured: true,
		},
		"announced STUN that a proxy may swallow stays first": {
			given: regions{999: {relayNode("a", 3478)}, 1000: {stunOnly("s", 19302)}},
			want:  map[int]string{999: "a s-for-999"}, homes: []int{999}, measured: true,
		},
		"workspace proxies": {
			given: regions{999: {relayNode("a", -1)}, 1000: {stunOnly("s", 0)}, 10001: {relayNode("p", -1)}},
			want:  map[int]string{999: "s-for-999 a", 10001: "s-for-10001 p"}, homes: []int{999, 10001}, measured: true,
		},
		"all relays with STUN are upstream's business": {
			given: regions{1: {relayNode("a", 0), stunOnly("b", 0)}, 2: {relayNode("c", 3478)}},
			want:  map[int]string{1: "a b", 2: "c"}, homes: []int{1, 2},
		},
		"a relay without STUN borrows from one with": {
			given: regions{1: {relayNode("a", 0)}, 2: {relayNode("b", -1)}},
			want:  map[int]string{1: "a", 2: "a-for-2 b"}, homes: []int{1, 2}, measured: true,
		},
		"no STUN at all": {
			given: regions{1: {relayNode("a", -1)}, 2: {relayNode("b", -1)}},
			want:  map[int]string{1: "a", 2: "b"}, homes: []int{1, 2}, measured: true,
		},
		"STUN only": {
			given: regions{1000: {stunOnly("s", 0)}, 1001: {stunOnly("t", 0)}},
			want:  map[int]string{}, measured: true,
		},
		"empty region": {
			given: regions{1: {relayNode("a", 0)}, 2: {}},
			want:  map[int]string{1: "a"}, homes: []int{1},
		},
		"switched-off servers and twins are not lent, nor more than three": {
			given: regions{1: {relayNode("a", -1)}, 2: {stunOnly("s", -1)}, 3: {stunOnly("t", 0)}, 4: {stunOnly("t", 0)}, 5: {stunOnly("u", 0), stunOnly("v", 0), stunOnly("w", 0)}},
			want:  map[int]string{1: "t-for-1 u-for-1 v-for-1 a"}, homes: []int{1}, measured: true,
		},
		"a region to avoid is no home": {
			given: regions{1: {relayNode("a", 0)}, 2: {relayNode("b", 0)}}, avoid: []int{1},
			want: map[int]string{1: "a", 2: "b"}, homes: []int{2},
		},
		"unless there is no other": {
			given: regions{1: {relayNode("a", 0)}}, avoid: []int{1},
			want: map[int]string{1: "a"}, homes: []int{1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			given := regionMap(test.given)
			for _, id := range test.avoid {
				given.Regions[id].Avoid = true
			}
			before := given.Clone()
			plan := planRegions(given)
			got := map[int]string{}
			for id, region := range plan.relays.Regions {
				var names []string
				for _, node := range region.Nodes {
					names = append(names, node.Name)
					if node.RegionID != id {
						t.Errorf("node %s of region %d says region %d", node.Name, id, node.RegionID)
					}
					if lent := strings.Contains(node.Name, "-for-"); lent && (!node.STUNOnly || node.CanPort80) {
						t.Errorf("lent node is more than a STUN server: %+v", node)
					}
				}
				got[id] = strings.Join(names, " ")
			}
			if !maps.Equal(got, test.want) {
				t.Errorf("regions %v, want %v", got, test.want)
			}
			if !slices.Equal(plan.homes, test.homes) || plan.measured != test.measured {
				t.Errorf("homes %v measured %v, want %v %v", plan.homes, plan.measured, test.homes, test.measured)
			}
			if !given.Equal(proto.RelayMap{DERPMap: before, Embedded: given.Embedded}) {
				t.Error("the given map was changed")
			}
		})
	}
}

func TestPlanRegionsWithNil(t *testing.T) {
	given := regionMap(map[int][]*tailcfg.DERPNode{1: {relayNode("a", 0)}})
	given.Regions[2] = nil
	if plan := planRegions(given); len(plan.relays.Regions) != 1 || !slices.Equal(plan.homes, []int{1}) {
		t.Errorf("plan %+v", plan)
	}
}

func TestChooseHome(t *testing.T) {
	type latency = map[int]time.Duration
	const ms = time.Millisecond
	for name, test := range map[string]struct {
		current int
		latency latency
		scores  map[int]float64
		want    int
	}{
		"nothing known":                {want: 0},
		"nothing known, a home":        {current: 1, want: 0},
		"the nearest":                  {latency: latency{1: 30 * ms, 2: 20 * ms, 3: 25 * ms}, want: 2},
		"one that is no home":          {latency: latency{1: 30 * ms, 9: 2 * ms}, want: 1},
		"stay: 9 ms nearer":            {current: 1, latency: latency{1: 10 * ms, 2: 1 * ms}, want: 1},
		"stay: a quarter nearer":       {current: 1, latency: latency{1: 100 * ms, 2: 75 * ms}, want: 1},
		"move: clearly nearer":         {current: 1, latency: latency{1: 100 * ms, 2: 50 * ms}, want: 2},
		"move: the home is silent":     {current: 1, latency: latency{2: 500 * ms, 3: 600 * ms}, want: 2},
		"move: the home is out":        {current: 9, latency: latency{9: 1 * ms, 3: 600 * ms}, want: 3},
		"scores make a relay nearer":   {latency: latency{1: 30 * ms, 2: 20 * ms}, scores: map[int]float64{1: 0.5}, want: 1},
		"scores hold us where we are":  {current: 1, latency: latency{1: 100 * ms, 2: 60 * ms}, scores: map[int]float64{1: 0.5}, want: 1},
		"a score of zero has no sense": {latency: latency{1: 30 * ms, 2: 20 * ms}, scores: map[int]float64{1: 0}, want: 2},
	} {
		t.Run(name, func(t *testing.T) {
			plan := regionPlan{homes: []int{1, 2, 3}, relays: proto.RelayMap{DERPMap: &tailcfg.DERPMap{}}}
			if test.scores != nil {
				plan.relays.HomeParams = &tailcfg.DERPHomeParams{RegionScore: test.scores}
			}
			if got := plan.choose(test.current, test.latency); got != test.want {
				t.Errorf("chose %d, want %d", got, test.want)
			}
		})
	}
}

// What we would send to a relay inside the tunnel would come back to us.
func TestPlanRegionsLeavesOutTheInside(t *testing.T) {
	inside := proto.AddrFromUUID(proto.ServicePrefix, uuid.UUID{1}).String()
	given := proto.RelayMap{DERPMap: &tailcfg.DERPMap{Regions: map[int]*tailcfg.DERPRegion{1: {RegionID: 1, Nodes: []*tailcfg.DERPNode{
		{Name: "a", RegionID: 1, HostName: inside},
		{Name: "b", RegionID: 1, HostName: "relay.test", IPv6: inside},
		{Name: "c", RegionID: 1, HostName: "relay.test", IPv4: "192.0.2.1"},
	}}, 2: {RegionID: 2, Nodes: []*tailcfg.DERPNode{{Name: "d", RegionID: 2, HostName: inside}}}}}}
	plan := planRegions(given)
	if len(plan.relays.Regions) != 1 || len(plan.relays.Regions[1].Nodes) != 1 || plan.relays.Regions[1].Nodes[0].Name != "c" {
		t.Errorf("%+v", plan.relays.Regions)
	}
	if len(given.Regions[1].Nodes) != 3 {
		t.Error("the map that was given is changed")
	}
}
