package userspace_test

import (
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"tailscale.com/derp/derpserver"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/tailnetv2"
)

// far is a relay without STUN whose distance can be set.
type far struct {
	port     int
	distance atomic.Int64
}

func startFar(t *testing.T, distance time.Duration) *far {
	t.Helper()
	f := &far{}
	f.distance.Store(int64(distance))
	server := derpserver.New(key.NewNode(), func(string, ...any) {})
	mux := http.NewServeMux()
	mux.Handle("/derp", derpserver.Handler(server))
	mux.HandleFunc("/derp/latency-check", func(http.ResponseWriter, *http.Request) { time.Sleep(time.Duration(f.distance.Load())) })
	web := httptest.NewUnstartedServer(mux)
	web.Config.ErrorLog = log.New(os.Stderr, "relay: ", 0)
	web.Start()
	t.Cleanup(func() { server.Close(); web.CloseClientConnections(); web.Close() })
	f.port = web.Listener.Addr().(*net.TCPAddr).Port
	return f
}

// region is a far relay as a region; a STUN port of -1 is none.
func (f *far) region(id int, name string, stunPort int) *tailcfg.DERPRegion {
	return &tailcfg.DERPRegion{RegionID: id, RegionCode: name, Nodes: []*tailcfg.DERPNode{{
		Name: name, RegionID: id, HostName: "127.0.0.1", IPv4: "127.0.0.1", IPv6: "none", DERPPort: f.port, STUNPort: stunPort,
	}}}
}

// stunRegion makes a region of the STUN server of another one alone.
func stunRegion(id int, relays proto.RelayMap) *tailcfg.DERPRegion {
	server := *relays.Regions[regionID].Nodes[0]
	server.Name, server.RegionID, server.STUNOnly, server.DERPPort = "server", id, true, 0
	return &tailcfg.DERPRegion{RegionID: id, RegionCode: "coder_stun_1", Nodes: []*tailcfg.DERPNode{&server}}
}

func mapOf(regions ...*tailcfg.DERPRegion) proto.RelayMap {
	relays := proto.RelayMap{
		DERPMap:   &tailcfg.DERPMap{OmitDefaultRegions: true, Regions: map[int]*tailcfg.DERPRegion{}},
		PlainHTTP: map[string]bool{"a": true, "b": true},
	}
	for _, region := range regions {
		relays.Regions[region.RegionID] = region
	}
	return relays
}

// silentSTUN is the port of a server that never answers.
func silentSTUN(t *testing.T) int {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.LocalAddr().(*net.UDPAddr).Port
}

// published gives the newest node that an engine told of.
func published(p peer) func() *tailnetv2.Node {
	var newest atomic.Pointer[tailnetv2.Node]
	p.engine.SetNodeCallback(func(node *tailnetv2.Node) { newest.Store(node) })
	return newest.Load
}

// TestHomeOfARealDeployment: a relay without STUN, and STUN servers that are
// nearer than any relay.
func TestHomeOfARealDeployment(t *testing.T) {
	const distance = 40 * time.Millisecond
	servers := startRelay(t, nil)
	p := newUserspace(t, mapOf(startFar(t, distance).region(999, "a", -1), stunRegion(1000, servers)), nil)
	node := published(p)
	eventually(t, "node with endpoints and latency", func() bool {
		node := node()
		return node != nil && len(node.GetEndpoints()) > 0 && len(node.GetDerpLatency()) > 0
	})
	if home := node().GetPreferredDerp(); home != 999 {
		t.Errorf("home is %d", home)
	}
	home, latency := p.engine.Home()
	told := node().GetDerpLatency()
	if home != 999 || len(latency) != 1 || latency[999] < distance || len(told) != 1 || told["999-v4"] < distance.Seconds() {
		t.Errorf("home %d, latency %v, told %v; want that of the relay, %v", home, latency, told, distance)
	}
}

// TestNearestRelay has two relays whose distance STUN cannot tell.
func TestNearestRelay(t *testing.T) {
	servers := startRelay(t, nil)
	for name, stun := range map[string]bool{"with STUN": true, "STUN is blocked": false} {
		t.Run(name, func(t *testing.T) {
			left, right := startFar(t, 200*time.Millisecond), startFar(t, time.Millisecond)
			lent := stunRegion(1000, servers)
			if !stun {
				lent.Nodes[0].STUNPort = silentSTUN(t)
			}
			p := newUserspace(t, mapOf(left.region(1, "a", -1), right.region(2, "b", -1), lent), nil)
			homeIs := func(want int) func() bool {
				return func() bool {
					home, latency := p.engine.Home()
					return home == want && len(latency) == 2
				}
			}
			eventually(t, "home at the nearer relay", homeIs(2))
			left.distance.Store(int64(time.Millisecond))
			right.distance.Store(int64(200 * time.Millisecond))
			p.engine.Rebind()
			eventually(t, "home at the relay that became nearer", homeIs(1))
		})
	}
}

// TestNoRelay: without a relay nobody can reach us, and nobody is told of us.
func TestNoRelay(t *testing.T) {
	servers := startRelay(t, nil)
	p := newUserspace(t, servers, nil)
	node := published(p)
	eventually(t, "home", func() bool { return node() != nil })
	p.engine.SetRelayMap(mapOf(stunRegion(1000, servers)))
	if home, latency := p.engine.Home(); home != 0 || len(latency) != 0 {
		t.Errorf("home %d, latency %v", home, latency)
	}
	p.engine.SetRelayMap(servers)
	eventually(t, "home again", func() bool { home, _ := p.engine.Home(); return home == regionID })
}

// TestHomeWithoutSTUN: upstream waits 3 seconds for STUN before it looks at
// anything else; peers hear of us before that.
func TestHomeWithoutSTUN(t *testing.T) {
	silent := silentSTUN(t)
	left, right := startFar(t, 0), startFar(t, 0)
	for name, relays := range map[string]proto.RelayMap{
		"one relay":  mapOf(left.region(1, "a", silent)),
		"two relays": mapOf(left.region(1, "a", silent), right.region(2, "b", silent)),
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			p := newUserspace(t, relays, nil)
			node := published(p)
			eventually(t, "node", func() bool { return node() != nil })
			if waited := time.Since(began); waited > 3*time.Second {
				t.Errorf("the node was published after %v", waited)
			}
		})
	}
}
