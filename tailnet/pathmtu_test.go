package tailnet

import (
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"tailscale.com/ipn/ipnstate"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
)

// This also shows that package wiremtu comes in time.
func TestPathsAreProbedInFullSize(t *testing.T) {
	listener, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	e := newDeviceEngine(t, nil)
	if !e.magic.PeerMTUEnabled() {
		t.Fatal("upstream's discovery of the path MTU is off")
	}
	endpoint, _ := netip.ParseAddrPort(listener.LocalAddr().String())
	node := (&tailcfg.Node{
		ID: 1, StableID: "1", Name: "x.", Key: key.NewNode().Public(), DiscoKey: key.NewDisco().Public(),
		Endpoints: []netip.AddrPort{endpoint}, MachineAuthorized: true, Hostinfo: (&tailcfg.Hostinfo{}).View(),
	}).View()
	e.magic.UpsertPeer(node)
	packet := make([]byte, 9000)
	for range 5 {
		e.magic.Ping(node, &ipnstate.PingResult{}, 0, func(*ipnstate.PingResult) {})
		if err := listener.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		size, _, err := listener.ReadFromUDP(packet)
		if err != nil {
			t.Fatal(err)
		}
		if size != FullMTU-header4 {
			t.Fatalf("a probe of %d bytes, want only %d", size+header4, FullMTU)
		}
	}
}

// A session of small packets goes on well over a path that no longer carries
// full ones; only the pings tell.
func TestPathThatBecameTooSmallIsGivenUp(t *testing.T) {
	for name, foreign := range map[string]bool{"our peer": false, "another's peer": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLine(t)
				l.foreign.Store(foreign)
				l.talk(10 * time.Second)
				l.small.Store(true)
				began := time.Now()
				l.talk(checkEvery + 2*time.Second)
				_, asks := l.counts()
				if !l.moved.Load() {
					t.Fatalf("still direct %v after the path became too small", time.Since(began))
				}
				l.mu.Lock()
				defer l.mu.Unlock()
				if wanted := !foreign; (asks == 1) != wanted || (l.resets == 1) == wanted {
					t.Errorf("%d requests and %d resets", asks, l.resets)
				}
			})
		})
	}
}
