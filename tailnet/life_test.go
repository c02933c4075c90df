package tailnet

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"tailscale.com/types/key"

	"github.com/causewayhq/causeway/proto/tailnetv2"
)

// TestLost is the life of peers that the control plane lost sight of.
func TestLost(t *testing.T) {
	tests := map[string]func(t *testing.T, b *bench, id uuid.UUID, node *tailnetv2.Node){
		"a second LOST counts again": func(_ *testing.T, b *bench, id uuid.UUID, node *tailnetv2.Node) {
			b.tell(id, kindNode, node)
			b.shook(node)
			b.tell(id, kindLost, nil)
			time.Sleep(10 * time.Minute)
			b.shook(node)
			b.tell(id, kindLost, nil)
			known, _ := b.look(id)
			if left := time.Until(known.deadline); left != lostAfter {
				b.t.Errorf("%s left, want %s", left, lostAfter)
			}
			time.Sleep(lostAfter - time.Nanosecond)
			b.want(id, true, "just before 15 min")
			time.Sleep(time.Nanosecond)
			b.want(id, false, "15 min after the handshake")
		},
		"a batch begins with a refresh": func(t *testing.T, b *bench, id uuid.UUID, node *tailnetv2.Node) {
			b.tell(id, kindNode, node)
			time.Sleep(time.Hour)
			b.shook(node) // known to WireGuard only
			time.Sleep(5 * time.Minute)
			b.tell(id, kindLost, nil)
			known, _ := b.look(id)
			if left := time.Until(known.deadline); left != 10*time.Minute {
				t.Errorf("%s left, want 10 minutes", left)
			}
		},
		"the end of the connection begins with a refresh": func(_ *testing.T, b *bench, id uuid.UUID, node *tailnetv2.Node) {
			b.tell(id, kindNode, node)
			b.shook(node)
			b.allLost()
			time.Sleep(time.Minute)
			b.want(id, true, "a minute later")
		},
		"the timer looks again": func(_ *testing.T, b *bench, id uuid.UUID, node *tailnetv2.Node) {
			b.tell(id, kindNode, node)
			b.shook(node)
			b.tell(id, kindLost, nil)
			time.Sleep(14 * time.Minute)
			b.shook(node)
			time.Sleep(time.Minute)
			b.want(id, true, "a minute after a handshake")
			time.Sleep(14 * time.Minute)
			b.want(id, false, "15 min after it")
		},
		"found again before the timer": func(t *testing.T, b *bench, id uuid.UUID, node *tailnetv2.Node) {
			b.tell(id, kindNode, node)
			b.shook(node)
			b.tell(id, kindLost, nil)
			b.tell(id, kindNode, node)
			if known, _ := b.look(id); known.lost || known.slot != 0 {
				t.Error("still lost")
			}
			if b.calls != 1 {
				t.Errorf("reconfigured %d times", b.calls-1)
			}
			time.Sleep(time.Hour)
			b.want(id, true, "an hour later")
		},
		"a loss changes nothing by itself": func(t *testing.T, b *bench, id uuid.UUID, node *tailnetv2.Node) {
			b.tell(id, kindNode, node)
			b.tell(id, kindLost, nil)
			if b.calls != 1 {
				t.Error("a loss made the data plane change")
			}
		},
		"the end of the connection leaves timers alone": func(t *testing.T, b *bench, id uuid.UUID, node *tailnetv2.Node) {
			b.tell(id, kindNode, node)
			b.shook(node)
			b.tell(id, kindLost, nil)
			before, _ := b.look(id)
			time.Sleep(time.Minute)
			b.shook(node)
			b.allLost()
			if after, _ := b.look(id); !after.deadline.Equal(before.deadline) {
				t.Error("the timer of a peer lost before was set anew")
			}
		},
		"goodbye takes out a lost one at once": func(t *testing.T, b *bench, id uuid.UUID, node *tailnetv2.Node) {
			b.tell(id, kindNode, node)
			b.shook(node)
			b.tell(id, kindLost, nil)
			b.tell(id, kindDisconnected, nil)
			if _, known := b.programmed[id]; known || len(b.roster.waiting) != 0 || b.timer != nil {
				t.Error("it is still there, or its timer is")
			}
		},
		"never more than a goodbye": func(_ *testing.T, b *bench, id uuid.UUID, node *tailnetv2.Node) {
			b.tell(id, kindNode, node)
			b.tell(id, kindDisconnected, nil)
			b.tell(id, kindDisconnected, nil)
			b.tell(id, kindLost, nil)
			b.want(id, false, "afterwards")
		},
		"readiness while lost waits for the node": func(_ *testing.T, b *bench, id uuid.UUID, node *tailnetv2.Node) {
			b.setDestination(id)
			b.tell(id, kindNode, node)
			b.shook(node)
			b.tell(id, kindLost, nil)
			b.tell(id, kindReady, nil)
			b.want(id, false, "lost")
			b.tell(id, kindNode, node)
			b.want(id, true, "found again")
		},
		"ready once is ready for good": func(_ *testing.T, b *bench, id uuid.UUID, node *tailnetv2.Node) {
			b.setDestination(id)
			b.tell(id, kindNode, node)
			time.Sleep(handshakeWait)
			b.want(id, true, "after the wait")
			b.shook(node)
			b.allLost()
			changed := testNode(id)
			b.tell(id, kindNode, changed)
			b.want(id, true, "changed")
			if b.calls != 2 {
				b.t.Errorf("%d calls: the changed node waited, or was not given on", b.calls)
			}
		},
		"each NODE keeps the first time": func(t *testing.T, b *bench, id uuid.UUID, node *tailnetv2.Node) {
			b.tell(id, kindNode, node)
			began := b.programmed[id].created
			time.Sleep(time.Hour)
			b.tell(id, kindNode, testNode(id))
			if b.calls != 2 || !b.programmed[id].created.Equal(began) || began.IsZero() {
				t.Errorf("%d calls, made %v, then %v", b.calls, began, b.programmed[id].created)
			}
		},
		"order of what is said does not matter": func(t *testing.T, b *bench, id uuid.UUID, node *tailnetv2.Node) {
			node.DerpLatency = map[string]float64{"1-v4": 1}
			b.tell(id, kindNode, node)
			node.DerpLatency = map[string]float64{"1-v4": 2, "2-v4": 3}
			b.tell(id, kindNode, node)
			if b.calls != 1 {
				t.Error("another distance to a relay made the data plane change")
			}
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				id := uuid.New()
				test(t, b, id, testNode(id))
				b.check(t)
				b.close()
			})
		})
	}
}

// TestIdleDestination: gating and laziness together. Ready or not, nothing is
// programmed that nobody needs.
func TestIdleDestination(t *testing.T) {
	tests := map[string]func(b *bench, id uuid.UUID, node *tailnetv2.Node){
		"ready by word": func(b *bench, id uuid.UUID, node *tailnetv2.Node) {
			b.tell(id, kindNode, node)
			b.tell(id, kindReady, nil)
		},
		"ready by time": func(b *bench, id uuid.UUID, node *tailnetv2.Node) {
			b.tell(id, kindNode, node)
			time.Sleep(handshakeWait)
			synctest.Wait()
		},
		"ready before its node": func(b *bench, id uuid.UUID, node *tailnetv2.Node) {
			b.tell(id, kindReady, nil)
			b.tell(id, kindNode, node)
		},
		"back after a goodbye": func(b *bench, id uuid.UUID, node *tailnetv2.Node) {
			b.tell(id, kindReady, nil)
			b.tell(id, kindNode, node)
			b.lifecycle.want(id)
			b.tell(id, kindDisconnected, nil)
			b.tell(id, kindNode, node)
			b.tell(id, kindReady, nil)
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				lazy := testSelf()
				lazy.lazy = true
				b := newBenchFor(t, lazy)
				defer b.close()
				id := uuid.New()
				node := testNode(id)
				b.setDestination(id)
				test(b, id, node)
				b.want(id, false, "while idle")
				if known, _ := b.look(id); !known.ready {
					t.Error("not ready")
				}
				changed := testNode(id)
				b.tell(id, kindNode, changed)
				b.want(id, false, "while idle, changed")
				b.lifecycle.want(id)
				b.want(id, true, "when needed")
				if b.programmed[id].record.key != keyOf(t, changed) || !b.programmed[id].shake {
					t.Error("it is not the last node, or nobody begins the session")
				}
				b.tell(id, kindNode, testNode(id))
				b.want(id, true, "changed once more")
				if b.programmed[id].record.key == keyOf(t, changed) {
					t.Error("a programmed peer did not get its new node")
				}
				b.check(t)
			})
		})
	}
}

// TestManyLost: ten thousand timers are one, and their end is no standstill.
func TestManyLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.close()
		const count = 3000
		var updates []*tailnetv2.CoordinateResponse_PeerUpdate
		for i := range count {
			id := uuid.New()
			node := testNode(id)
			updates = append(updates, nodeUpdate(id, node))
			if i%2 == 0 {
				b.shook(node)
			}
			if i%100 == 0 {
				time.Sleep(time.Second)
			}
		}
		if problems := b.update(updates); len(problems) > 0 {
			t.Fatal(problems)
		}
		b.allLost()
		b.check(t)
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if len(b.roster.peers) != count/2 || len(b.programmed) != count/2 {
			t.Errorf("%d peers, %d programmed, want those that shook hands", len(b.roster.peers), len(b.programmed))
		}
		b.check(t)
		time.Sleep(lostAfter)
		synctest.Wait()
		if len(b.roster.peers) != 0 || len(b.programmed) != 0 || b.timer != nil {
			t.Errorf("%d peers, %d programmed at the end", len(b.roster.peers), len(b.programmed))
		}
	})
}

// BenchmarkLost loses ten thousand peers one by one: the cost of one does not
// grow with the number of those that wait.
func BenchmarkLost(b *testing.B) {
	for _, count := range []int{100, idlePeers} {
		b.Run(fmt.Sprintf("waiting=%d", count), func(b *testing.B) {
			ids, updates := crowd(count)
			r := newRoster(testSelf(), func(public key.NodePublic) time.Time {
				raw := public.AppendTo(nil)
				return time.Unix(int64(raw[0]), 0)
			})
			now := time.Unix(300, 0)
			for _, update := range updates {
				_, _ = r.update(now, update)
			}
			for i := 0; b.Loop(); i++ {
				id := ids[i%count]
				_, _ = r.update(now, &tailnetv2.CoordinateResponse_PeerUpdate{Id: id[:], Kind: kindLost})
				if _, found := r.waiting.next(); !found {
					b.Fatal("nobody waits")
				}
			}
		})
	}
}

// TestSharedAddressComesLast: upstream takes the first one for the peer's own.
func TestSharedAddressComesLast(t *testing.T) {
	id := uuid.New()
	node := testNode(id)
	node.Addresses = append([]string{"fd7a:115c:a1e0:49d6:b259:b7ac:b1b2:48f4/128"}, node.GetAddresses()...)
	node.AllowedIps = node.GetAddresses()
	read, _, err := readNode(node)
	if err != nil || len(read.addresses) != 3 || read.addresses[2].String() != "fd7a:115c:a1e0:49d6:b259:b7ac:b1b2:48f4" {
		t.Errorf("addresses %v, error %v", read.addresses, err)
	}
}
