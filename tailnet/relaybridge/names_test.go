package relaybridge

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tailscale.com/tailcfg"

	"github.com/causewayhq/causeway/proto"
)

// addressList is a resolver with a memory.
type addressList struct {
	mu           sync.Mutex
	known, fresh []netip.Addr
	asked        int
}

func (a *addressList) Known(string) []netip.Addr { return a.known }
func (a *addressList) Resolve(context.Context, string) []netip.Addr {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked++
	return a.fresh
}

func (a *addressList) answer(addrs ...netip.Addr) (asked int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fresh = addrs
	return a.asked
}

func namedMap() proto.RelayMap {
	return proto.RelayMap{DERPMap: &tailcfg.DERPMap{Regions: map[int]*tailcfg.DERPRegion{
		1: {RegionID: 1, Nodes: []*tailcfg.DERPNode{
			{Name: "1stun", RegionID: 1, HostName: "stun.test", STUNOnly: true},
			{Name: "1a", RegionID: 1, HostName: "relay.test"},
		}},
		2: {RegionID: 2, Nodes: []*tailcfg.DERPNode{
			{Name: "2a", RegionID: 2, HostName: "relay.test", IPv4: "192.0.2.9", STUNOnly: true},
			{Name: "2b", RegionID: 2, HostName: "192.0.2.8", STUNOnly: true},
		}},
	}}, Embedded: map[int]bool{1: true}}
}

// Upstream gets the addresses from before, keeps them while the resolver says
// the same or nothing, and gets others once it says others.
func TestKnownNamesNeedNoResolver(t *testing.T) {
	four, six := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	other := netip.MustParseAddr("192.0.2.2")
	addrsOf := func(relays *tailcfg.DERPMap, region, node int) string {
		n := relays.Regions[region].Nodes[node]
		return n.HostName + " " + n.IPv4 + " " + n.IPv6
	}
	synctest.Test(t, func(t *testing.T) {
		names := &addressList{known: []netip.Addr{four}}
		var changed atomic.Int32
		b := &Bridge{
			config: Config{Dial: Dial{Names: names}, Changed: func() { changed.Add(1) }}, targets: map[string]target{},
			reasons: map[int]string{}, probed: map[nodeKey]bool{}, refused: map[nodeKey]string{}, named: make(chan struct{}, 1), closed: true,
		}
		b.ctx, b.stop = context.WithCancel(t.Context())
		b.running.Go(b.checkNames)
		defer b.running.Wait()
		defer b.stop()
		rewritten := b.Rewrite(namedMap())
		synctest.Wait()
		for _, want := range []struct {
			region, node int
			text         string
		}{{1, 0, "stun.test 192.0.2.1 none"}, {1, 1, "relay.test 192.0.2.1 none"}, {2, 0, "relay.test 192.0.2.9 "}, {2, 1, "192.0.2.8  "}} {
			if got := addrsOf(rewritten, want.region, want.node); got != want.text {
				t.Errorf("got %q, want %q", got, want.text)
			}
		}
		names.answer(six, four)
		time.Sleep(namesEvery + time.Second)
		if changed.Load() != 0 {
			t.Error("changed although the address still holds")
		}
		if asked := names.answer(other, six); asked < 4 {
			t.Errorf("asked %d times", asked)
		}
		time.Sleep(namesEvery)
		if changed.Load() != 1 {
			t.Errorf("changed %d times", changed.Load())
		}
		if got := addrsOf(b.Rewrite(namedMap()), 1, 0); got != "stun.test 192.0.2.2 2001:db8::1" {
			t.Errorf("afterwards %q", got)
		}
		names.answer()
		time.Sleep(10 * namesEvery)
		if changed.Load() != 1 {
			t.Error("a resolver that is silent changes something")
		}
	})
}

// A host of which nothing is known is upstream's to look up; it is only asked
// for so that its address is known at the next start.
func TestUnknownNamesAreLeftToUpstream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		names := &addressList{fresh: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}
		b := &Bridge{
			config: Config{Dial: Dial{Names: names}}, targets: map[string]target{}, reasons: map[int]string{},
			probed: map[nodeKey]bool{}, refused: map[nodeKey]string{}, named: make(chan struct{}, 1), closed: true,
		}
		b.ctx, b.stop = context.WithCancel(t.Context())
		b.running.Go(b.checkNames)
		defer b.running.Wait()
		defer b.stop()
		if node := b.Rewrite(namedMap()).Regions[1].Nodes[0]; node.IPv4 != "" || node.IPv6 != "" {
			t.Errorf("got %q %q", node.IPv4, node.IPv6)
		}
		time.Sleep(10 * namesEvery)
		if asked := names.answer(); asked != 2 {
			t.Errorf("asked %d times for two hosts", asked)
		}
	})
}

// The relay's name is dialled by the given function alone, which also gets to
// say whether what it reached is the relay.
func TestRelaysAreDialledByTheBook(t *testing.T) {
	for name, secured := range map[string]bool{"plain": false, "TLS": true} {
		t.Run(name, func(t *testing.T) {
			relay := startRelay(t, relayOptions{secure: secured})
			var mu sync.Mutex
			var dialed []string
			connect := func(ctx context.Context, network, address string, secure func(context.Context, net.Conn) (net.Conn, error)) (net.Conn, error) {
				mu.Lock()
				dialed = append(dialed, network+" "+address)
				mu.Unlock()
				if (secure != nil) != secured {
					return nil, errors.New("asked for the wrong kind of connection")
				}
				var dialer net.Dialer
				conn, err := dialer.DialContext(ctx, network, relay.Listener.Addr().String())
				if err != nil || secure == nil {
					return conn, err
				}
				return secure(ctx, conn)
			}
			b := startBridge(t, Config{Dial: Dial{Connect: connect}})
			given := relay.relayMap(!secured, false)
			given.Regions[3].Nodes[0].HostName = "relay.test"
			if err := exchange(t, b.Rewrite(given)); err != nil {
				t.Fatal(err)
			}
			mu.Lock()
			defer mu.Unlock()
			want := "tcp " + net.JoinHostPort("relay.test", strconv.Itoa(relay.port()))
			if len(dialed) == 0 || strings.Join(dialed, ",") != strings.TrimSuffix(strings.Repeat(want+",", len(dialed)), ",") {
				t.Errorf("dialled %v, want %s", dialed, want)
			}
		})
	}
}
