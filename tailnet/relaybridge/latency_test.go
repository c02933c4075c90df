package relaybridge

import (
	"context"
	"net/http"
	"testing"
	"time"

	"tailscale.com/tailcfg"
)

func TestRegionLatency(t *testing.T) {
	const slow = 30 * time.Millisecond
	for name, test := range map[string]struct {
		relay           relayOptions
		plain, embedded bool
		headers         bool
		fails           bool
	}{
		"plain":                      {relay: relayOptions{slow: slow}, plain: true},
		"with TLS, not bridged":      {relay: relayOptions{slow: slow, secure: true}},
		"with TLS, bridged":          {relay: relayOptions{slow: slow, secure: true}, embedded: true},
		"with the headers it wants":  {relay: relayOptions{slow: slow, require: "X-Key"}, plain: true, headers: true},
		"without the headers":        {relay: relayOptions{require: "X-Key"}, plain: true, fails: true},
		"one that refuses the relay": {relay: relayOptions{slow: slow, refuse: 426}, plain: true},
	} {
		t.Run(name, func(t *testing.T) {
			relay := startRelay(t, test.relay)
			config := Config{}
			if test.headers {
				config.Headers = func() http.Header { return http.Header{"X-Key": {"yes"}} }
			}
			b := startBridge(t, config)
			b.Rewrite(relay.relayMap(test.plain, test.embedded))
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			began := time.Now()
			took, err := b.Latency(ctx, 3)
			whole := time.Since(began)
			if test.fails {
				if err == nil {
					t.Errorf("a refusal counts as latency %v", took)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			// Several requests were made, and one of them counts.
			if took < slow || took > whole-slow || relay.checks.Load() != latencyRequests {
				t.Errorf("latency %v in %v with %d requests, want %v or a little more", took, whole, relay.checks.Load(), slow)
			}
		})
	}
}

func TestRegionLatencyFallsBack(t *testing.T) {
	relay := startRelay(t, relayOptions{})
	relays := relay.relayMap(true, false)
	dead := *relays.Regions[3].Nodes[0]
	dead.Name, dead.DERPPort = "3dead", 1
	relays.PlainHTTP["3dead"] = true
	server := &tailcfg.DERPNode{Name: "3stun", HostName: "192.0.2.1", STUNOnly: true}
	relays.Regions[3].Nodes = append([]*tailcfg.DERPNode{server, &dead}, relays.Regions[3].Nodes...)
	relays.Regions[4] = &tailcfg.DERPRegion{RegionID: 4, Nodes: []*tailcfg.DERPNode{server}}
	b := startBridge(t, Config{})
	b.Rewrite(relays)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if took, err := b.Latency(ctx, 3); err != nil || took <= 0 {
		t.Errorf("the second relay was not asked: %v %v", took, err)
	}
	for _, region := range []int{4, 5} {
		if took, err := b.Latency(ctx, region); err == nil {
			t.Errorf("region %d has no relay, and latency %v", region, took)
		}
	}
	cancel()
	if took, err := b.Latency(ctx, 3); err == nil {
		t.Errorf("latency %v after the end", took)
	}
}

// TestRelayThatKeepsNoConnection answers one request for each connection.
func TestRelayThatKeepsNoConnection(t *testing.T) {
	relay := startRelay(t, relayOptions{})
	relay.Config.SetKeepAlivesEnabled(false)
	b := startBridge(t, Config{})
	b.Rewrite(relay.relayMap(true, false))
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if took, err := b.Latency(ctx, 3); err != nil || took <= 0 {
		t.Errorf("latency %v, %v", took, err)
	}
}

func TestRewriteLeavesOutSilentSTUN(t *testing.T) {
	relay := startRelay(t, relayOptions{})
	b := startBridge(t, Config{})
	relays := relay.relayMap(true, true)
	relays.Regions[3].Nodes[0].STUNPort = -1
	nodes := b.Rewrite(relays).Regions[3].Nodes
	if len(nodes) != 1 || nodes[0].STUNOnly {
		t.Errorf("nodes %+v, want the bridged relay only", nodes)
	}
}
