package tailnet

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	proto2 "google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"tailscale.com/types/key"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/tailnetv2"
)

type kind = tailnetv2.CoordinateResponse_PeerUpdate_Kind

const (
	kindNode         = tailnetv2.CoordinateResponse_PeerUpdate_NODE
	kindLost         = tailnetv2.CoordinateResponse_PeerUpdate_LOST
	kindDisconnected = tailnetv2.CoordinateResponse_PeerUpdate_DISCONNECTED
	kindReady        = tailnetv2.CoordinateResponse_PeerUpdate_READY_FOR_HANDSHAKE
)

// testNode is a good node for an id.
func testNode(id uuid.UUID) *tailnetv2.Node {
	public, _ := key.NewNode().Public().MarshalBinary()
	disco, _ := key.NewDisco().Public().MarshalText()
	node := &tailnetv2.Node{
		Id: proto.NodeIDFromUUID(id), AsOf: timestamppb.Now(), Key: public, Disco: string(disco), PreferredDerp: 1,
		Endpoints: []string{"198.51.100.7:41641"},
	}
	for _, addr := range proto.AgentAddrs(id) {
		node.Addresses = append(node.Addresses, addr.String()+"/128")
	}
	node.AllowedIps = node.Addresses
	return node
}

func keyOf(t *testing.T, node *tailnetv2.Node) key.NodePublic {
	t.Helper()
	var public key.NodePublic
	if err := public.UnmarshalBinary(node.GetKey()); err != nil {
		t.Fatal(err)
	}
	return public
}

// bench is a lifecycle in a synctest bubble with a notebook for an engine.
type bench struct {
	t *testing.T
	*lifecycle
	mu         sync.Mutex
	programmed map[uuid.UUID]change
	calls      int
	// seen are the handshakes that a refresh found, handshakes those it would find.
	seen, handshakes map[key.NodePublic]time.Time
}

// testSelf is nobody in particular: no agents, everything at once.
func testSelf() self {
	return self{node: parsed{key: key.NewNode().Public(), disco: key.NewDisco().Public()}, addrs: map[[16]byte]bool{}}
}

func newBench(t *testing.T) *bench { return newBenchFor(t, testSelf()) }

func newBenchFor(t *testing.T, self self) *bench {
	b := &bench{t: t, programmed: map[uuid.UUID]change{}, handshakes: map[key.NodePublic]time.Time{}}
	table := newRoster(self, func(public key.NodePublic) time.Time {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.seen[public]
	})
	refresh := func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.seen = maps.Clone(b.handshakes)
	}
	b.lifecycle = newLifecycle(table, refresh, func(changes []change) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.calls++
		for _, made := range changes {
			if made.record == nil {
				delete(b.programmed, made.id)
			} else {
				b.programmed[made.id] = made
			}
		}
	})
	return b
}

func (b *bench) tell(id uuid.UUID, what kind, node *tailnetv2.Node) {
	b.t.Helper()
	if problems := b.update([]*tailnetv2.CoordinateResponse_PeerUpdate{{Id: id[:], Kind: what, Node: node}}); len(problems) > 0 {
		b.t.Fatal(problems)
	}
}

func (b *bench) shook(node *tailnetv2.Node) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.handshakes[keyOf(b.t, node)] = time.Now()
}

func (b *bench) has(id uuid.UUID) bool {
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	_, programmed := b.programmed[id]
	return programmed
}

func (b *bench) want(id uuid.UUID, programmed bool, when string) {
	b.t.Helper()
	if b.has(id) != programmed {
		b.t.Errorf("%s: programmed is %v, want %v", when, !programmed, programmed)
	}
}

func TestPeerLife(t *testing.T) {
	tests := map[string]func(t *testing.T, b *bench, id uuid.UUID, node *tailnetv2.Node){
		"inbound peer is programmed at once": func(_ *testing.T, b *bench, id uuid.UUID, node *tailnetv2.Node) {
			b.tell(id, kindNode, node)
			b.want(id, true, "after NODE")
		},
		"destination waits for READY": func(_ *testing.T, b *bench, id uuid.UUID, node *tailnetv2.Node) {
			b.setDestination(id)
			b.tell(id, kindNode, node)
			b.want(id, false, "after NODE")
			b.tell(id, kindReady, nil)
			b.want(id, true, "after READY")
		},
		"destination starts anyway after 5 s": func(_ *testing.T, b *bench, id uuid.UUID, node *tailnetv2.Node) {
			b.setDestination(id)
			b.tell(id, kindNode, node)
			time.Sleep(handshakeWait - time.Nanosecond)
			b.want(id, false, "just before 5 s")
			time.Sleep(time.Nanosecond)
			b.want(id, true, "at 5 s")
		},
		"each NODE restarts the wait": func(_ *testing.T, b *bench, id uuid.UUID, node *tailnetv2.Node) {
			b.setDestination(id)
			b.tell(id, kindNode, node)
			time.Sleep(3 * time.Second)
			b.tell(id, kindNode, node)
			time.Sleep(3 * time.Second)
			b.want(id, false, "3 s after the second NODE")
			time.Sleep(2 * time.Second)
			b.want(id, true, "5 s after the second NODE")
		},
		"READY before NODE is remembered": func(_ *testing.T, b *bench, id uuid.UUID, node *tailnetv2.Node) {
			b.setDestination(id)
			b.tell(id, kindReady, nil)
			b.tell(id, kindNode, node)
			b.want(id, true, "after NODE")
		},
		"destination mark survives removal": func(_ *testing.T, b *bench, id uuid.UUID, node *tailnetv2.Node) {
			b.setDestination(id)
			b.tell(id, kindReady, nil)
			b.tell(id, kindNode, node)
			b.tell(id, kindDisconnected, nil)
			b.want(id, false, "after DISCONNECTED")
			b.tell(id, kindNode, node)
			b.want(id, false, "after coming back")
			time.Sleep(handshakeWait)
			b.want(id, true, "5 s after coming back")
		},
		"lost peer stays until 15 min after its handshake": func(_ *testing.T, b *bench, id uuid.UUID, node *tailnetv2.Node) {
			b.tell(id, kindNode, node)
			b.shook(node)
			time.Sleep(5 * time.Minute)
			b.tell(id, kindLost, nil)
			time.Sleep(10*time.Minute - time.Nanosecond)
			b.want(id, true, "just before 15 min")
			time.Sleep(time.Nanosecond)
			b.want(id, false, "at 15 min")
		},
		"a handshake while lost gives it more time": func(_ *testing.T, b *bench, id uuid.UUID, node *tailnetv2.Node) {
			b.tell(id, kindNode, node)
			b.shook(node)
			b.tell(id, kindLost, nil)
			time.Sleep(10 * time.Minute)
			b.shook(node)
			time.Sleep(10 * time.Minute)
			b.want(id, true, "10 min after the last handshake")
			time.Sleep(5 * time.Minute)
			b.want(id, false, "15 min after the last handshake")
		},
		"lost peer that never shook hands goes almost at once": func(_ *testing.T, b *bench, id uuid.UUID, node *tailnetv2.Node) {
			b.tell(id, kindNode, node)
			b.tell(id, kindLost, nil)
			time.Sleep(time.Nanosecond)
			b.want(id, false, "a nanosecond later")
		},
		"NODE finds a lost peer again": func(_ *testing.T, b *bench, id uuid.UUID, node *tailnetv2.Node) {
			b.tell(id, kindNode, node)
			b.shook(node)
			b.allLost()
			b.tell(id, kindNode, node)
			time.Sleep(time.Hour)
			b.want(id, true, "an hour later")
		},
		"all lost does not restart timers": func(_ *testing.T, b *bench, id uuid.UUID, node *tailnetv2.Node) {
			b.tell(id, kindNode, node)
			b.shook(node)
			b.allLost()
			time.Sleep(14 * time.Minute)
			b.allLost()
			time.Sleep(time.Minute)
			b.want(id, false, "15 min after the handshake")
		},
		"equal node does nothing": func(t *testing.T, b *bench, id uuid.UUID, node *tailnetv2.Node) {
			b.tell(id, kindNode, node)
			later := testNode(id)
			later.Key, later.Disco, later.AsOf = node.GetKey(), node.GetDisco(), timestamppb.New(time.Now().Add(time.Hour))
			b.tell(id, kindNode, later)
			if b.calls != 1 {
				t.Errorf("engine was called %d times, want once", b.calls)
			}
		},
		"unknown peers are not lost": func(t *testing.T, b *bench, id uuid.UUID, _ *tailnetv2.Node) {
			b.tell(id, kindLost, nil)
			b.tell(id, kindDisconnected, nil)
			if b.calls != 0 || len(b.roster.peers) != 0 {
				t.Errorf("calls %d, peers %d", b.calls, len(b.roster.peers))
			}
		},
		"same key under a new id takes over": func(t *testing.T, b *bench, id uuid.UUID, node *tailnetv2.Node) {
			b.tell(id, kindNode, node)
			other := uuid.New()
			moved := proto2.CloneOf(node)
			b.tell(other, kindNode, moved)
			b.want(id, false, "the old id")
			b.want(other, true, "the new id")
			b.tell(id, kindDisconnected, nil)
			if b.roster.claims.byKey[keyOf(t, node)] == nil {
				t.Error("the late goodbye of the old id removed the new one's key")
			}
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				id := uuid.New()
				test(t, b, id, testNode(id))
				b.close()
			})
		})
	}
}

func TestBadUpdates(t *testing.T) {
	good := uuid.New()
	tests := map[string]struct {
		spoil func(update *tailnetv2.CoordinateResponse_PeerUpdate)
		want  string
	}{
		"short id":        {func(u *tailnetv2.CoordinateResponse_PeerUpdate) { u.Id = u.Id[:15] }, "want 16"},
		"no kind":         {func(u *tailnetv2.CoordinateResponse_PeerUpdate) { u.Kind = 0 }, "kind 0"},
		"future kind":     {func(u *tailnetv2.CoordinateResponse_PeerUpdate) { u.Kind = 99 }, "kind 99"},
		"no node":         {func(u *tailnetv2.CoordinateResponse_PeerUpdate) { u.Node = nil }, "node is missing"},
		"no key":          {func(u *tailnetv2.CoordinateResponse_PeerUpdate) { u.Node.Key = nil }, "node key"},
		"short key":       {func(u *tailnetv2.CoordinateResponse_PeerUpdate) { u.Node.Key = u.Node.Key[:33] }, "node key"},
		"bad disco":       {func(u *tailnetv2.CoordinateResponse_PeerUpdate) { u.Node.Disco = "discokey:12" }, "disco"},
		"id zero":         {func(u *tailnetv2.CoordinateResponse_PeerUpdate) { u.Node.Id = 0 }, "node id 0"},
		"no home":         {func(u *tailnetv2.CoordinateResponse_PeerUpdate) { u.Node.PreferredDerp = 0 }, "no home relay"},
		"home too large":  {func(u *tailnetv2.CoordinateResponse_PeerUpdate) { u.Node.PreferredDerp = 1 << 16 }, "out of range"},
		"no address":      {func(u *tailnetv2.CoordinateResponse_PeerUpdate) { u.Node.Addresses = nil }, "no address"},
		"default route":   {func(u *tailnetv2.CoordinateResponse_PeerUpdate) { u.Node.AllowedIps = []string{"::/0"} }, "not an address"},
		"foreign address": {func(u *tailnetv2.CoordinateResponse_PeerUpdate) { u.Node.AllowedIps = []string{"2001:db8::1/128"} }, "not an address"},
		"resolver address": {func(u *tailnetv2.CoordinateResponse_PeerUpdate) {
			u.Node.AllowedIps = []string{"fd60:627a:a42b::53/128"}
		}, "not an address"},
		"garbage address":  {func(u *tailnetv2.CoordinateResponse_PeerUpdate) { u.Node.Addresses = []string{"x"} }, "malformed"},
		"garbage endpoint": {func(u *tailnetv2.CoordinateResponse_PeerUpdate) { u.Node.Endpoints = []string{"x"} }, "malformed"},
		"too many addresses": {func(u *tailnetv2.CoordinateResponse_PeerUpdate) {
			u.Node.Addresses = slices.Repeat(u.Node.Addresses, maxPeerAddresses)
		}, "at most"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				defer b.close()
				bad := uuid.New()
				update := &tailnetv2.CoordinateResponse_PeerUpdate{Id: bad[:], Kind: kindNode, Node: testNode(bad)}
				test.spoil(update)
				err := errors.Join(b.update([]*tailnetv2.CoordinateResponse_PeerUpdate{
					update, {Id: good[:], Kind: kindNode, Node: testNode(good)},
				})...)
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("error %v, want one with %q", err, test.want)
				}
				b.want(good, true, "the good update of the batch")
				b.want(bad, false, "the bad one")
			})
		})
	}
}

func TestNodeIDClash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.close()
		first, second := uuid.New(), uuid.New()
		node, rival := testNode(first), testNode(second)
		rival.Id = node.GetId()
		b.tell(first, kindNode, node)
		updates := []*tailnetv2.CoordinateResponse_PeerUpdate{{Id: second[:], Kind: kindNode, Node: rival}}
		if problems := b.update(updates); len(problems) == 0 {
			t.Error("a second peer took a node id that is in use")
		}
		b.shook(node)
		b.tell(first, kindLost, nil)
		if problems := b.update(updates); len(problems) > 0 {
			t.Errorf("after the first was lost: %v", problems)
		}
		b.want(first, false, "the lost one")
		b.want(second, true, "the new one")
	})
}

func TestEndpointsThatCannotWork(t *testing.T) {
	id := uuid.New()
	node := testNode(id)
	node.Endpoints = []string{
		"[fd60:627a:a42b::1]:1", "[fd7a:115c:a1e0::1]:1", "[fe80::1]:1", "169.254.1.1:1", "0.0.0.0:1", "198.51.100.1:0",
		"[ff02::1]:1", "[::ffff:169.254.1.1]:1", "198.51.100.1:1", "[2001:db8::1]:2", "127.0.0.1:3",
		"[::1]:4",
	}
	read, left, err := readNode(node)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, endpoint := range read.toUpstream(id, true).Endpoints {
		got = append(got, endpoint.String())
	}
	if want := []string{"198.51.100.1:1", "[2001:db8::1]:2"}; !slices.Equal(got, want) {
		t.Errorf("endpoints %v, want %v", got, want)
	}
	if left.error == nil || !strings.Contains(left.Error(), "10 of 12 endpoints left out, the first [fd60:627a:a42b::1]:1") {
		t.Errorf("told %v", left.error)
	}
	if endpoints := read.toUpstream(id, false).Endpoints; len(endpoints) != 0 {
		t.Errorf("direct paths off: endpoints %v", endpoints)
	}
}
