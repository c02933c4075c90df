package tailnet

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/tailnetv2"
)

// TestLies: what a control plane may not say of a peer is refused as a whole,
// named, and costs nobody else anything.
func TestLies(t *testing.T) {
	mine := testSelf()
	mine.agents, mine.lazy = true, true
	ownID, victimID := uuid.New(), uuid.New()
	own := proto.AddrFromUUID(proto.ServicePrefix, ownID)
	mine.addrs[own.As16()] = true
	victim := testNode(victimID)
	node := func(spoil func(*tailnetv2.Node)) func(uuid.UUID) *tailnetv2.Node {
		return func(id uuid.UUID) *tailnetv2.Node { n := testNode(id); spoil(n); return n }
	}
	allowed := func(prefix string) func(uuid.UUID) *tailnetv2.Node {
		return node(func(n *tailnetv2.Node) { n.AllowedIps = append(n.AllowedIps, prefix) })
	}
	ownKey, _ := mine.node.key.MarshalBinary()
	ownDisco, _ := mine.node.disco.MarshalText()
	tests := map[string]struct {
		node func(uuid.UUID) *tailnetv2.Node
		want string
	}{
		"outside both prefixes": {allowed("2001:db8::1/128"), "2001:db8::1/128 is not an address of the tunnel"},
		"IPv4":                  {allowed("10.0.0.1/32"), "10.0.0.1/32 is not an address"},
		"a whole prefix":        {allowed("fd60:627a:a42b::/48"), "/48 is not an address"},
		"half an address":       {allowed("fd60:627a:a42b::1/127"), "/127 is not an address"},
		"everything":            {allowed("::/0"), "::/0 is not an address"},
		"the resolver":          {allowed("fd60:627a:a42b::53/128"), "a42b::53/128 is not an address"},
		"our own address":       {allowed(own.String() + "/128"), "address " + own.String() + " is our own"},
		"an address of another agent": {
			allowed(victim.GetAddresses()[1]), "does not follow from the agent's id",
		},
		"an address of nobody":  {allowed("fd60:627a:a42b::99/128"), "does not follow from the agent's id"},
		"the legacy one only":   {node(func(n *tailnetv2.Node) { n.Addresses = []string{proto.LegacyAgentAddr.String() + "/128"} }), "no address of its own"},
		"another's node key":    {node(func(n *tailnetv2.Node) { n.Key = victim.GetKey() }), "the node key belongs to peer " + victimID.String()},
		"another's node id":     {node(func(n *tailnetv2.Node) { n.Id = victim.GetId() }), fmt.Sprintf("node id %d belongs to peer %s", victim.GetId(), victimID)},
		"our own node key":      {node(func(n *tailnetv2.Node) { n.Key = ownKey }), "the node key is our own"},
		"our own disco key":     {node(func(n *tailnetv2.Node) { n.Disco = string(ownDisco) }), "the disco key is our own"},
		"key does not parse":    {node(func(n *tailnetv2.Node) { n.Key = bytes.Repeat([]byte{'x'}, 34) }), "node key of 34 bytes is malformed"},
		"megabytes of key":      {node(func(n *tailnetv2.Node) { n.Key = make([]byte, 3<<20) }), "node key of 3145728 bytes"},
		"megabytes of disco":    {node(func(n *tailnetv2.Node) { n.Disco = strings.Repeat("a", 3<<20) }), "disco key of 3145728 bytes"},
		"disco not hexadecimal": {node(func(n *tailnetv2.Node) { n.Disco = "discokey:" + strings.Repeat("z", 64) }), "disco key of 73 bytes"},
		"zero disco":            {node(func(n *tailnetv2.Node) { n.Disco = "discokey:" + strings.Repeat("0", 64) }), "disco key"},
		"negative relay":        {node(func(n *tailnetv2.Node) { n.PreferredDerp = -1 }), "home relay -1 is out of range"},
		"absurd relay":          {node(func(n *tailnetv2.Node) { n.PreferredDerp = 1 << 30 }), "home relay 1073741824 is out of range"},
		"negative node id":      {node(func(n *tailnetv2.Node) { n.Id = -5 }), "node id -5 is not positive"},
		"text of a prefix":      {allowed(strings.Repeat("f", 1<<20)), "is malformed"},
		"text of an endpoint":   {node(func(n *tailnetv2.Node) { n.Endpoints = []string{strings.Repeat("1", 1<<20)} }), "is malformed"},
		"thousands of addresses": {node(func(n *tailnetv2.Node) {
			for range 5000 {
				n.AllowedIps = append(n.AllowedIps, n.GetAddresses()[0])
			}
		}), "at most 16"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBenchFor(t, mine)
			defer b.close()
			liar, other := uuid.New(), uuid.New()
			for _, id := range []uuid.UUID{victimID, liar, other} {
				b.setDestination(id)
				b.tell(id, kindReady, nil)
				b.lifecycle.want(id)
			}
			b.tell(victimID, kindNode, victim)
			problems := b.update([]*tailnetv2.CoordinateResponse_PeerUpdate{
				nodeUpdate(liar, test.node(liar)), nodeUpdate(other, testNode(other)),
			})
			err := errors.Join(problems...)
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), liar.String()) {
				t.Fatalf("error %.300v, want one with %q and the peer", err, test.want)
			}
			if len(err.Error()) > 300 {
				t.Errorf("the error repeats %d bytes", len(err.Error()))
			}
			if _, known := b.programmed[liar]; known {
				t.Error("the lie was programmed")
			}
			for _, id := range []uuid.UUID{victimID, other} {
				if _, known := b.programmed[id]; !known {
					t.Errorf("peer %s pays for the lie", id)
				}
			}
			b.check(t)
		})
	}
}

// check looks at what has to hold between a roster's tables at all times.
func (b *bench) check(t *testing.T) {
	t.Helper()
	b.lifecycle.mu.Lock()
	defer b.lifecycle.mu.Unlock()
	b.roster.check(t)
}

func (r *roster) check(t *testing.T) {
	t.Helper()
	records, addrs, shared, given, placeholders, waiting := 0, 0, 0, 0, 0, 0
	for id, peer := range r.peers {
		if peer.id != id {
			t.Errorf("peer %s is listed as %s", peer.id, id)
		}
		if peer.given != nil {
			given++
			if peer.given != peer.record || !peer.ready {
				t.Errorf("peer %s: the data plane has something else", id)
			}
		}
		if (peer.slot > 0) != !peer.deadline.IsZero() || peer.slot > 0 && r.waiting[peer.slot-1] != peer {
			t.Errorf("peer %s: slot %d, deadline %v", id, peer.slot, peer.deadline)
		}
		if peer.slot > 0 {
			waiting++
		}
		if peer.record == nil {
			placeholders++
			continue
		}
		records++
		addrs += len(peer.record.addrs)
		if peer.record.shared {
			shared++
		}
		if r.claims.byKey[peer.record.key] != peer || r.claims.byNode[peer.record.node] != peer {
			t.Errorf("peer %s is not found by its key and node id", id)
		}
		for _, addr := range peer.record.addrs {
			if r.claims.byAddr[addr] != peer {
				t.Errorf("peer %s is not found by %s", id, textOf(addr))
			}
		}
		if !peer.ready && !peer.lost && peer.deadline.IsZero() {
			t.Errorf("peer %s waits for ever", id)
		}
	}
	for i := 1; i < len(r.waiting); i++ {
		if r.waiting[i].deadline.Before(r.waiting[(i-1)/2].deadline) {
			t.Error("the deadlines are no heap")
		}
	}
	if len(r.claims.byKey) != records || len(r.claims.byNode) != records || len(r.claims.byAddr) != addrs || len(r.claims.legacy) != shared ||
		r.given != given || r.placeholders != placeholders || len(r.waiting) != waiting {
		t.Errorf("tables: %d keys, %d nodes, %d addresses, %d shared, %d given, %d placeholders, %d waiting; want %d, %d, %d, %d, %d, %d, %d",
			len(r.claims.byKey), len(r.claims.byNode), len(r.claims.byAddr), len(r.claims.legacy), r.given, r.placeholders, len(r.waiting),
			records, records, addrs, shared, given, placeholders, waiting)
	}
}

// TestDestinationsComeFirst: an id made to have the address and the node id of
// an agent of ours does not keep the agent away by being there first, and does
// not get the address when the agent is lost.
func TestDestinationsComeFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mine := testSelf()
		mine.agents = true
		b := newBenchFor(t, mine)
		defer b.close()
		agent := uuid.New()
		twin := agent
		twin[0]++ // the address and the node id come from the last ten bytes
		b.setDestination(agent)
		b.tell(twin, kindNode, testNode(twin))
		b.want(twin, true, "alone")
		b.tell(agent, kindReady, nil)
		node := testNode(agent)
		b.tell(agent, kindNode, node)
		b.want(agent, true, "the agent")
		b.want(twin, false, "who had its address")
		b.shook(node)
		b.tell(agent, kindLost, nil)
		problems := b.update([]*tailnetv2.CoordinateResponse_PeerUpdate{nodeUpdate(twin, testNode(twin))})
		if len(problems) != 1 || !strings.Contains(problems[0].Error(), "belongs to peer "+agent.String()) {
			t.Errorf("after the agent was lost: %v", problems)
		}
		b.want(agent, true, "the lost agent")
		b.check(t)
	})
}

// TestClientsKeepWhatIsTheirs is the agent's view: addresses of clients are
// random, so the first one has them.
func TestClientsKeepWhatIsTheirs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.close()
		first, second := uuid.New(), uuid.New()
		node, thief := testNode(first), testNode(second)
		thief.Addresses = node.GetAddresses()
		b.tell(first, kindNode, node)
		problems := b.update([]*tailnetv2.CoordinateResponse_PeerUpdate{nodeUpdate(second, thief)})
		if len(problems) != 1 || !strings.Contains(problems[0].Error(), "is not among the allowed ones") {
			t.Errorf("an address that is not an allowed one: %v", problems)
		}
		thief.AllowedIps = node.GetAllowedIps()
		problems = b.update([]*tailnetv2.CoordinateResponse_PeerUpdate{nodeUpdate(second, thief)})
		if len(problems) != 1 || !strings.Contains(problems[0].Error(), "belongs to peer "+first.String()) {
			t.Errorf("a taken address: %v", problems)
		}
		stolen := testNode(uuid.New())
		stolen.Key = node.GetKey()
		problems = b.update([]*tailnetv2.CoordinateResponse_PeerUpdate{nodeUpdate(uuid.New(), stolen)})
		if len(problems) != 1 || !strings.Contains(problems[0].Error(), "the node key belongs to peer "+first.String()) {
			t.Errorf("a taken key: %v", problems)
		}
		b.want(first, true, "the owner")
		b.check(t)
	})
}

// TestCrowdIsBounded: more peers than any deployment has are refused; those
// that are there stay.
func TestCrowdIsBounded(t *testing.T) {
	b := newBench(t)
	defer b.close()
	template := testNode(uuid.New())
	var updates []*tailnetv2.CoordinateResponse_PeerUpdate
	for i := range maxPeers + 7 {
		id := uuid.New()
		raw := [32]byte{1, byte(i), byte(i >> 8), byte(i >> 16)}
		addrs := proto.AgentAddrs(id)
		updates = append(updates, nodeUpdate(id, &tailnetv2.Node{
			Id: int64(i + 1), Key: append([]byte("np"), raw[:]...), Disco: template.GetDisco(), PreferredDerp: 1,
			Addresses: []string{addrs[0].String() + "/128"},
		}))
	}
	problems := b.update(updates)
	if len(problems) != 7 || !strings.Contains(problems[0].Error(), "50000 peers are known, no more are taken") {
		t.Fatalf("%d refused, the first %.200v", len(problems), problems)
	}
	if len(b.roster.peers) != maxPeers || len(b.programmed) != maxAtOnce {
		t.Errorf("%d peers, %d programmed, want %d and %d", len(b.roster.peers), len(b.programmed), maxPeers, maxAtOnce)
	}
	b.check(t)
	// One goes, one comes; and one that is there may still change.
	last := updates[len(updates)-1]
	if problems := b.update([]*tailnetv2.CoordinateResponse_PeerUpdate{
		{Id: updates[0].GetId(), Kind: kindDisconnected}, last, updates[1],
	}); len(problems) > 0 {
		t.Error(problems)
	}
}

func TestReadinessOfStrangersIsBounded(t *testing.T) {
	b := newBench(t)
	defer b.close()
	var updates []*tailnetv2.CoordinateResponse_PeerUpdate
	for range maxPlaceholders + 5 {
		updates = append(updates, readyUpdate(uuid.New()))
	}
	if problems := b.update(updates); len(problems) != 5 || !strings.Contains(problems[0].Error(), "ready before its node") {
		t.Errorf("%d refused", len(problems))
	}
	ours := uuid.New()
	b.setDestination(ours)
	b.tell(ours, kindReady, nil)
	b.check(t)
	b.tell(ours, kindNode, testNode(ours))
	if _, known := b.programmed[ours]; !known {
		t.Error("a destination's readiness was not remembered")
	}
}

// TestRefusalsAreWrittenOnce: by the engine, at the level that fits, however
// often they come, and not without end.
func TestRefusalsAreWrittenOnce(t *testing.T) {
	var text bytes.Buffer
	e := newDeviceEngine(t, func(config *Config) {
		config.Logger = slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelWarn}))
	})
	bad, homeless, odd := uuid.New(), uuid.New(), uuid.New()
	badNode, homelessNode, oddNode := testNode(bad), testNode(homeless), testNode(odd)
	badNode.Key = nil
	homelessNode.PreferredDerp = 0
	oddNode.Endpoints = append(oddNode.Endpoints, "127.0.0.1:1", "[fd60:627a:a42b::1]:2")
	for range 3 {
		e.tell(t, nodeUpdate(bad, badNode), nodeUpdate(homeless, homelessNode), nodeUpdate(odd, oddNode),
			&tailnetv2.CoordinateResponse_PeerUpdate{Id: []byte{1, 2}, Kind: kindNode})
	}
	for _, want := range []string{
		"level=ERROR+4 msg=\"peer update refused\" error=\"update peer " + bad.String() + ": node key of 0 bytes is malformed\"",
		"level=ERROR+4 msg=\"peer update refused\" error=\"read peer id of 2 bytes: want 16\"",
		"level=WARN msg=\"peer update is doubtful\" error=\"update peer " + homeless.String() + ": node has no home relay, the peer cannot be reached\"",
		"level=WARN msg=\"peer update is doubtful\" error=\"update peer " + odd.String() + ": 2 of 3 endpoints left out, the first 127.0.0.1:1\"",
	} {
		if got := strings.Count(text.String(), want); got != 1 {
			t.Errorf("%q was written %d times:\n%s", want, got, text.String())
		}
	}
	if !e.programmed(odd) || e.programmed(bad) || e.programmed(homeless) {
		t.Error("the doubtful endpoints are left out, the peer is not; the others are")
	}
	text.Reset()
	for range 2 * maxRefusals {
		e.tell(t, nodeUpdate(uuid.New(), badNode))
	}
	if lines := strings.Count(text.String(), "\n"); lines > maxRefusals+1 || !strings.Contains(text.String(), "further refused peer updates are not written") {
		t.Errorf("%d lines", lines)
	}
}

// TestThousandsOfEndpoints: the rest is left out, and told.
func TestThousandsOfEndpoints(t *testing.T) {
	id := uuid.New()
	node := testNode(id)
	node.Endpoints = nil
	for i := range 5000 {
		node.Endpoints = append(node.Endpoints, fmt.Sprintf("198.51.%d.%d:1", i/256, i%256))
	}
	read, left, err := readNode(node)
	if err != nil || len(read.endpoints) != maxPeerEndpoints {
		t.Fatalf("%d endpoints, error %v", len(read.endpoints), err)
	}
	if left.error == nil || !strings.Contains(left.Error(), "4936 of 5000 endpoints left out, the first 198.51.0.64:1") {
		t.Errorf("told %v", left.error)
	}
	if made := newRecord(read); len(made.wire) > 4096 {
		t.Errorf("the record takes %d bytes", len(made.wire))
	}
}

// TestNodeIDOfTheAbsent: while the control connection is down all peers count as
// lost, but none of them loses its node id to one that announces itself first.
func TestNodeIDOfTheAbsent(t *testing.T) {
	for _, absent := range []func(e deviceEngine, id uuid.UUID){
		func(e deviceEngine, _ uuid.UUID) { e.SetAllPeersLost() },
		func(e deviceEngine, id uuid.UUID) {
			e.tell(t, &tailnetv2.CoordinateResponse_PeerUpdate{Id: id[:], Kind: tailnetv2.CoordinateResponse_PeerUpdate_DISCONNECTED})
		},
	} {
		e := newDeviceEngine(t, nil)
		good, bad := uuid.New(), uuid.New()
		node, lie := testNode(good), testNode(bad)
		e.announce(t, good, node)
		e.announce(t, bad, testNode(bad))
		absent(e, good)
		lie.Id = node.GetId()
		e.tell(t, nodeUpdate(bad, lie), nodeUpdate(good, node), nodeUpdate(bad, lie))
		if known, found := e.peers.look(good); !found || known.record == nil {
			t.Error("another peer has its place")
		}
	}
}
