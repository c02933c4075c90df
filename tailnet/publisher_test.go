package tailnet

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	protobuf "google.golang.org/protobuf/proto"
	"tailscale.com/net/packet"
	"tailscale.com/tailcfg"
	"tailscale.com/types/ipproto"
	"tailscale.com/wgengine"
	"tailscale.com/wgengine/filter"
	"tailscale.com/wgengine/magicsock"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/tailnetv2"
)

// told is a publisher without upstream, and what it told.
type told struct {
	*publisher
	nodes []*tailnetv2.Node
}

func newTold() *told {
	addr := proto.AddrFromUUID(proto.ServicePrefix, uuid.New())
	e := &Engine{logger: slog.New(slog.DiscardHandler), config: Config{
		Identity: NewIdentity(), NodeID: 77, Addresses: []netip.Prefix{netip.PrefixFrom(addr, 128)},
	}}
	e.publisher, e.homing = newPublisher(e), newHoming(e)
	e.homing.plan.measured = true // so that nobody asks upstream
	p := &told{publisher: e.publisher}
	p.callback = p.hear
	return p
}

func (p *told) hear(node *tailnetv2.Node) { p.nodes = append(p.nodes, protobuf.CloneOf(node)) }

// settle publishes if somebody asked for it.
func (p *told) settle() {
	select {
	case <-p.poked:
		p.publish()
	default:
	}
}

func (p *told) endpointsAt(at time.Time, texts ...string) {
	status := &wgengine.Status{AsOf: at}
	for _, text := range texts {
		status.LocalAddrs = append(status.LocalAddrs, tailcfg.Endpoint{Addr: netip.MustParseAddrPort(text)})
	}
	p.setStatus(status, nil)
	p.settle()
}

// TestOwnNodeIsPublished: when, how much of it, and with which time.
func TestOwnNodeIsPublished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTold()
		count := func(want int, when string) *tailnetv2.Node {
			t.Helper()
			if len(p.nodes) != want {
				t.Fatalf("%s: told %d times, want %d", when, len(p.nodes), want)
			}
			if want == 0 {
				return nil
			}
			return p.nodes[want-1]
		}
		began := time.Now()
		p.endpointsAt(began, "198.51.100.1:1", "198.51.100.2:2")
		count(0, "without a home")
		changes := 0
		p.engine.config.HomeRelayChanged = func() { changes++ }
		p.setHome(magicsock.HomeDERPChanged{New: 9})
		p.settle()
		first := count(1, "with a home")
		if first.GetPreferredDerp() != 9 || first.GetId() != 77 || len(first.GetEndpoints()) != 2 || len(first.GetKey()) != 34 ||
			len(first.GetAddresses()) != 1 || len(first.GetAllowedIps()) != 1 || first.GetDisco() == "" || !first.GetAsOf().AsTime().Equal(began) {
			t.Errorf("node %v", first)
		}
		time.Sleep(time.Minute)
		p.endpointsAt(time.Now(), "198.51.100.2:2", "198.51.100.1:1")
		count(1, "the same endpoints in another order")
		changed := time.Now()
		p.endpointsAt(changed, "198.51.100.3:3")
		second := count(2, "other endpoints")
		if !slices.Equal(second.GetEndpoints(), []string{"198.51.100.3:3"}) || second.GetPreferredDerp() != 9 || !second.GetAsOf().AsTime().Equal(changed) {
			t.Errorf("node %v", second)
		}
		p.endpointsAt(changed.Add(-time.Second), "198.51.100.1:1")
		count(2, "an older report")
		p.endpointsAt(time.Now(), "198.51.100.3:3", "127.0.0.1:1", "[fd60:627a:a42b::7]:1", "[fe80::1]:1")
		count(2, "endpoints that nobody can use")
		p.setStatus(nil, errors.New("no status"))
		p.settle()
		count(2, "a failed report")
		time.Sleep(time.Second)
		p.setForced(9, "403")
		p.settle()
		if forced := count(3, "a forced websocket"); forced.GetDerpForcedWebsocket()[9] != "403" || len(forced.GetEndpoints()) != 1 {
			t.Errorf("node %v", forced)
		}
		p.engine.homing.latency = map[int]time.Duration{9: time.Millisecond}
		p.poke()
		p.settle()
		count(4, "a latency")
		asOf := p.nodes[3].GetAsOf().AsTime()
		time.Sleep(time.Minute)
		p.engine.SetNodeCallback(p.hear)
		p.settle()
		if again := count(5, "a new callback"); !again.GetAsOf().AsTime().Equal(asOf) {
			t.Error("nothing changed, yet the node has another time")
		}
		p.engine.relaysOnly.Store(true)
		p.poke()
		p.settle()
		if blocked := count(6, "direct paths off"); len(blocked.GetEndpoints()) != 0 {
			t.Errorf("endpoints %v", blocked.GetEndpoints())
		}
		p.noHome()
		if changes != 2 {
			t.Errorf("told of %d changes of the home relay, want 2", changes)
		}
		p.poke()
		p.settle()
		count(6, "no home any more")
	})
}

// TestOwnAddressesInAnyOrder are the same addresses.
func TestOwnAddressesInAnyOrder(t *testing.T) {
	told := &tailnetv2.Node{Addresses: []string{"a", "b"}, AllowedIps: []string{"a", "b"}, Endpoints: []string{"x", "y"}}
	same := &tailnetv2.Node{Addresses: []string{"b", "a"}, AllowedIps: []string{"b", "a"}, Endpoints: []string{"y", "x"}}
	other := &tailnetv2.Node{Addresses: []string{"b", "c"}, AllowedIps: []string{"b", "a"}, Endpoints: []string{"y", "x"}}
	if !sameOwn(told, same) || sameOwn(told, other) {
		t.Error("order matters, or content does not")
	}
	if !slices.Equal(same.GetAddresses(), []string{"b", "a"}) {
		t.Error("the comparison changed what it compared")
	}
}

// TestFilter: everything for our own addresses comes in, nothing else does.
func TestFilter(t *testing.T) {
	id := uuid.New()
	own := proto.AgentAddrs(id)
	filtering := allowLocal(singles(own[:]), func(string, ...any) {})
	for name, test := range map[string]struct {
		to    netip.Addr
		proto ipproto.Proto
		want  filter.Response
	}{
		"TCP to us":                     {own[0], ipproto.TCP, filter.Accept},
		"UDP to our other address":      {own[1], ipproto.UDP, filter.Accept},
		"ping to us":                    {own[1], ipproto.ICMPv6, filter.Accept},
		"TCP to another tunnel address": {proto.AgentAddrs(uuid.New())[0], ipproto.TCP, filter.Drop},
		"UDP to the resolver":           {proto.DNSAddr, ipproto.UDP, filter.Drop},
		"TCP to the host's network":     {netip.MustParseAddr("2001:db8::1"), ipproto.TCP, filter.Drop},
	} {
		for _, from := range []netip.Addr{proto.AgentAddrs(uuid.New())[0], netip.MustParseAddr("2001:db8::7")} {
			raw := make([]byte, 80)
			raw[0], raw[5], raw[6], raw[7] = 6<<4, 40, byte(test.proto), 64
			source, target := from.As16(), test.to.As16()
			copy(raw[8:], source[:])
			copy(raw[24:], target[:])
			raw[43], raw[52], raw[53] = 22, 5<<4, byte(packet.TCPSyn) // port, header length
			parsed := &packet.Parsed{}
			parsed.Decode(raw)
			if got := filtering.RunIn(parsed, 0); got != test.want {
				t.Errorf("%s from %s: %v, want %v", name, from, got, test.want)
			}
		}
	}
}

// TestEqualRelayMapDoesNothing, see proto.RelayMap.Equal for what is equal.
func TestEqualRelayMapDoesNothing(t *testing.T) {
	e := newDeviceEngine(t, nil)
	relays := func(host string) proto.RelayMap {
		return proto.RelayMap{DERPMap: &tailcfg.DERPMap{Regions: map[int]*tailcfg.DERPRegion{
			3: {RegionID: 3, RegionCode: "c", Nodes: []*tailcfg.DERPNode{{Name: "3a", RegionID: 3, HostName: host, IPv4: "192.0.2.1", STUNPort: -1}}},
		}}}
	}
	// Each map that is programmed gets a plan of its own.
	plan := func() *tailcfg.DERPMap { made, _ := e.homing.current(); return made.relays.DERPMap }
	e.SetRelayMap(relays("one.test"))
	programmed := plan()
	if programmed == nil {
		t.Fatal("no map")
	}
	e.SetRelayMap(relays("one.test"))
	if plan() != programmed {
		t.Error("an equal map was given to upstream")
	}
	e.SetRelayMap(relays("two.test"))
	if plan() == programmed {
		t.Error("another map was not")
	}
	e.SetRelayMap(proto.RelayMap{})
	if plan() == nil {
		t.Error("no map took the place of a map")
	}
}

// TestRebind: the socket is new and the STUN server is asked again; the port and
// the peers are the same.
func TestRebind(t *testing.T) {
	e := newDeviceEngine(t, nil)
	id := uuid.New()
	e.announce(t, id, testNode(id))
	e.Handshake([]uuid.UUID{id})
	asked, at := stunSink(t)
	e.SetRelayMap(proto.RelayMap{DERPMap: &tailcfg.DERPMap{OmitDefaultRegions: true, Regions: map[int]*tailcfg.DERPRegion{
		7: {RegionID: 7, RegionCode: "t", Nodes: []*tailcfg.DERPNode{{Name: "7a", RegionID: 7, HostName: "127.0.0.1", IPv4: "127.0.0.1", IPv6: "none", DERPPort: 1, STUNPort: at}}},
	}}})
	soon(t, "a first question to STUN", func() bool { return asked.Load() > 0 })
	before := int32(-1)
	soon(t, "no more questions", func() bool { // it repeats them, as nobody answers
		now := asked.Load()
		quiet := now == before
		before = now
		time.Sleep(time.Second)
		return quiet
	})
	port, session, socket := e.Identity().Port, e.directory.peer(id).session, socketOf(t, e.Identity().Port)
	e.Rebind()
	soon(t, "a question to STUN after the rebind", func() bool { return asked.Load() > before })
	if got := e.Identity().Port; port == 0 || got != port {
		t.Errorf("port %d, was %d", got, port)
	}
	if now := socketOf(t, port); now == socket {
		t.Errorf("the socket is still %s", socket)
	}
	if e.directory.peer(id).session != session {
		t.Error("the peer is another")
	}
}

// stunSink counts what comes to a UDP port that never answers.
func stunSink(t *testing.T) (count *atomic.Int32, port int) {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	count = &atomic.Int32{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for buf := make([]byte, 1500); ; count.Add(1) {
			if _, err := conn.Read(buf); err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	return count, conn.LocalAddr().(*net.UDPAddr).Port
}

// socketOf is the kernel's number of the socket of a UDP port over IPv4.
func socketOf(t *testing.T, port uint16) string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/net/udp")
	if err != nil {
		t.Skip("only Linux shows its sockets")
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) > 9 && strings.HasSuffix(fields[1], fmt.Sprintf(":%04X", port)) {
			return fields[9]
		}
	}
	t.Fatalf("no socket has port %d", port)
	return ""
}

// TestRelayPseudoAddress: a peer is reached through its home relay by upstream's
// magic address with the region for a port.
func TestRelayPseudoAddress(t *testing.T) {
	if want := netip.MustParseAddr("127.3.3.40"); tailcfg.DerpMagicIPAddr != want {
		t.Errorf("upstream's address is %s, want %s", tailcfg.DerpMagicIPAddr, want)
	}
	e := newDeviceEngine(t, nil)
	id := uuid.New()
	node := testNode(id)
	node.PreferredDerp = 999
	e.announce(t, id, node)
	e.Handshake([]uuid.UUID{id})
	peer := e.directory.peer(id)
	if peer.node.HomeDERP != 999 {
		t.Errorf("home %d", peer.node.HomeDERP)
	}
	e.packetSeen(0, netip.AddrPortFrom(proto.AgentAddrs(id)[0], 0), netip.MustParseAddrPort("127.3.3.40:999"), 1, 500, false)
	if status, _ := e.Peer(id); status.Direct || status.RelayRegion != 999 || !status.Active {
		t.Errorf("status %+v", status)
	}
}
