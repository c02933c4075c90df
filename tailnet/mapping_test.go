package tailnet

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"tailscale.com/net/stun"
	"tailscale.com/tailcfg"
)

// stunServer sees everybody as the address; it leaves the first requests
// unanswered, and answers twice.
func stunServer(t *testing.T, on string, sees netip.AddrPort, deaf int) netip.AddrPort {
	t.Helper()
	socket, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(on+":0")))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		packet := make([]byte, 1500)
		for {
			n, from, err := socket.ReadFromUDPAddrPort(packet)
			if err != nil {
				return
			}
			id, err := stun.ParseBindingRequest(packet[:n])
			if err != nil {
				continue
			}
			if deaf--; deaf >= 0 {
				continue
			}
			for range 2 {
				_, _ = socket.WriteToUDPAddrPort(stun.Response(id, sees), from)
			}
		}
	}()
	t.Cleanup(func() { socket.Close(); <-done })
	return socket.LocalAddr().(*net.UDPAddr).AddrPort()
}

func TestCompareMappings(t *testing.T) {
	one, other := netip.MustParseAddrPort("192.0.2.30:1"), netip.MustParseAddrPort("192.0.2.30:2")
	yes, no := true, false
	for name, c := range map[string]struct {
		first, second     netip.AddrPort
		deaf, secondsDeaf int
		want              *bool
	}{
		"easy":            {one, one, 0, 0, &no},
		"hard":            {one, other, 0, 0, &yes},
		"a lost packet":   {one, other, 1, 0, &yes},
		"only one answer": {one, other, 0, 1000, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			servers := []netip.AddrPort{stunServer(t, "127.0.0.1", c.first, c.deaf), stunServer(t, "127.0.0.2", c.second, c.secondsDeaf)}
			ctx, cancel := context.WithTimeout(t.Context(), map[bool]time.Duration{true: 10 * time.Second, false: 700 * time.Millisecond}[c.want != nil])
			defer cancel()
			got := compareMappings(ctx, servers)
			if (got == nil) != (c.want == nil) || got != nil && *got != *c.want {
				t.Errorf("compareMappings() = %v, want %v", got, c.want)
			}
		})
	}
}

// Servers count by their hosts: two ports of one are seen alike by many a NAT.
func TestSTUNAddresses(t *testing.T) {
	node := func(host string, port int) *tailcfg.DERPNode {
		return &tailcfg.DERPNode{HostName: host, STUNPort: port}
	}
	relays := &tailcfg.DERPMap{Regions: map[int]*tailcfg.DERPRegion{
		1: {RegionID: 1, Nodes: []*tailcfg.DERPNode{node("127.0.0.1", 0), node("127.0.0.1", 7), node("127.0.0.2", -1)}},
		2: {RegionID: 2, Nodes: []*tailcfg.DERPNode{node("::1", 1), {HostName: "relay.invalid", IPv4: "127.0.0.3", STUNPort: 9}}},
		3: {RegionID: 3, Nodes: []*tailcfg.DERPNode{node("127.0.0.4", 1), node("127.0.0.5", 1), node("127.0.0.6", 1)}},
	}}
	var got []string
	for _, server := range stunAddresses(t.Context(), relays) {
		got = append(got, server.String())
	}
	if want := []string{"127.0.0.1:3478", "127.0.0.3:9", "127.0.0.4:1", "127.0.0.5:1"}; !slices.Equal(got, want) {
		t.Errorf("stunAddresses() = %v, want %v", got, want)
	}
	for _, none := range []*tailcfg.DERPMap{nil, {}, {Regions: map[int]*tailcfg.DERPRegion{1: nil}}} {
		if got := stunAddresses(t.Context(), none); len(got) != 0 {
			t.Errorf("of no relays: %v", got)
		}
	}
}
