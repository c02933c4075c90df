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

// ask is a ping of the user's or the status's every second. Upstream sends it
// to the path it trusts.
func (l *line) ask(e *Engine, times int) (answered int) {
	for range times {
		e.expect(l.peer)
		if l.path() == relayPath {
			answered++
		} else if l.roundTrip() && !l.small.Load() {
			answered++
			time.Sleep(l.rtt)
			l.peer.session.contact.pinged(&ipnstate.PingResult{Endpoint: directPath.String(), LatencySeconds: l.rtt.Seconds()})
		}
		time.Sleep(time.Second)
	}
	return answered
}

// Nothing but pings goes over a path that is idle, and they keep it trusted.
func TestIdlePathThatBecameTooSmallIsGivenUp(t *testing.T) {
	for name, idle := range map[string]time.Duration{"just idle": 10 * time.Second, "idle for minutes": 4 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLine(t)
				e := &Engine{failover: l.failover}
				l.talk(time.Second)
				time.Sleep(idle)
				before, _ := l.counts()
				if answered := l.ask(e, 10); answered != 10 {
					t.Fatalf("%d of 10 pings answered while all was well", answered)
				}
				if pings, asks := l.counts(); pings != before || asks != 0 {
					t.Fatalf("%d pings and %d requests of the failover's although all pings were answered", pings-before, asks)
				}
				time.Sleep(idle)
				l.small.Store(true)
				if answered := l.ask(e, 5); answered < 3 {
					t.Errorf("%d of 5 pings answered after the path became too small, want all but two", answered)
				}
				if _, asks := l.counts(); asks == 0 || !l.moved.Load() {
					t.Errorf("%d requests, and the path is still direct", asks)
				}
			})
		})
	}
}

// The first full packets after a pause are the first that do not get through.
func TestPathThatBecameTooSmallInAPauseIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLine(t)
		l.talk(time.Second)
		time.Sleep(time.Minute)
		l.small.Store(true)
		l.talk(1500 * time.Millisecond)
		if !l.moved.Load() {
			t.Error("still direct 1.5 s after the first data")
		}
	})
}
