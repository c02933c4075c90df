package coordinator

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
)

// TestWhatMakesANodeEqual: the order of a map is nothing, a new time is news.
func TestWhatMakesANodeEqual(t *testing.T) {
	r := newRig(t)
	r.pair()
	node := r.node("a1", 1)
	node.DerpLatency = map[string]float64{}
	for i := range 50 {
		node.DerpLatency[fmt.Sprintf("%d-v4", i)] = float64(i)
	}
	r.send("a1", updateSelf(node))
	r.expect("c1", "NODE a1 v1 (node update)")
	for range 20 { // Go gives a map in another order each time
		r.send("a1", updateSelf(node))
	}
	r.expect("c1", "")
	node.AsOf = timestamppb.New(time.Unix(1, 0))
	r.send("a1", updateSelf(node))
	r.expect("c1", "NODE a1 v1 (node update)")
}

// TestResponsesKeepTheirOrder across kinds, senders and full responses.
func TestResponsesKeepTheirOrder(t *testing.T) {
	r := newRig(t)
	r.pair()
	r.connect("c2")
	r.update("c2", 1)
	var want []string
	for i := range 60 {
		switch i % 4 {
		case 0:
			r.update("c1", 100+i)
			want = append(want, fmt.Sprintf("NODE c1 v%d (node update)", 100+i))
		case 1:
			r.open("c2", "a1")
			want = append(want, "NODE c2 v1 (add tunnel)")
		case 2:
			r.shut("c2", "a1")
			want = append(want, "DISCONNECTED c2 (remove tunnel)")
		case 3:
			r.send("a1", ready(r.id("c9")))
			want = append(want, `error: ready for handshake error: you do not share a tunnel with "`+r.id("c9").String()+`"`)
		}
	}
	r.expect("a1", strings.Join(want, "; "))
}

// TestNumbers holds what the protocol gives: the other tests use the same names
// as the code.
func TestNumbers(t *testing.T) {
	if queueLimit != 512 || updatesLimit != 1024 {
		t.Errorf("a queue holds %d responses, a response %d updates", queueLimit, updatesLimit)
	}
}

// TestWholePrefixIsForClients: any address of both, and none beside them.
func TestWholePrefixIsForClients(t *testing.T) {
	for address, want := range map[string]bool{
		"fd60:627a:a42b::1": true, "fd60:627a:a42b:ffff:ffff:ffff:ffff:ffff": true,
		"fd7a:115c:a1e0::1": true, "fd7a:115c:a1e0:ffff:ffff:ffff:ffff:ffff": true,
		"fd60:627a:a42a:ffff:ffff:ffff:ffff:ffff": false, "fd60:627a:a42c::": false,
		"fd7a:115c:a1df:ffff:ffff:ffff:ffff:ffff": false, "fd7a:115c:a1e1::": false,
	} {
		r := newRig(t)
		node := r.node("c1", 1)
		node.Addresses = []string{address + "/128"}
		node.AllowedIps = node.Addresses
		if err := r.connect("c1").Send(updateSelf(node)); (err == nil) != want {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// TestSourceIsToldFirst of a new tunnel. Neither can take what it is told, so that
// the order is seen by who is to be removed.
func TestSourceIsToldFirst(t *testing.T) {
	r := newRig(t)
	for _, name := range []string{"s1", "s2"} {
		r.connect(name)
		r.update(name, 1)
		for r.peers[name].push(response{wire: ErrorResponse(filler)}) {
			continue
		}
	}
	for source, destination := range map[string]string{"s1": "s2", "s2": "s1"} {
		r.c.mu.Lock()
		r.c.addTunnel(r.peers[source], r.id(destination))
		told := r.c.doomed
		r.c.doomed = nil
		for _, one := range r.c.links {
			for _, l := range one {
				l.sent = nil
			}
		}
		r.c.mu.Unlock()
		if want := []*Stream{r.peers[source], r.peers[destination]}; !slices.Equal(told, want) {
			t.Errorf("a tunnel from %s was told to %d, %s first: %v", source, len(told), source, len(told) > 0 && told[0] == want[0])
		}
	}
}
