package tunnel

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causewayhq/causeway/proto/tailnetv2"
	"github.com/causewayhq/causeway/tailnet"
	"github.com/causewayhq/causeway/tun"
)

// keptDevice is one that outlives its readers.
type keptDevice struct {
	*device
	lost          chan struct{}
	begun, paused int
}

func (d *keptDevice) Lost() <-chan struct{} { return d.lost }
func (d *keptDevice) Begin()                { d.begun++; d.order.add("device read") }
func (d *keptDevice) Pause()                { d.paused++; d.order.add("device paused") }

// keeping makes the devices of a rig such ones, and gives the last one.
func (r *rig) keeping() func() *keptDevice {
	var mu sync.Mutex
	var last *keptDevice
	r.config.OpenDevice = func(string, int) (tun.Device, error) {
		r.order.add("device opened")
		mu.Lock()
		defer mu.Unlock()
		last = &keptDevice{device: newDevice(r.order), lost: make(chan struct{})}
		return last, nil
	}
	return func() *keptDevice { mu.Lock(); defer mu.Unlock(); return last }
}

// until runs the tunnel until end is called with the cause.
func (r *rig) until() (end func(cause error) error) {
	ctx, cancel := context.WithCancelCause(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	r.t.Cleanup(func() { cancel(nil) })
	return func(cause error) error { cancel(cause); return <-done }
}

func (p *plane) goodbyes() (count int) {
	p.set(func(p *plane) {
		for _, request := range p.said {
			if request.GetDisconnect() != nil {
				count++
			}
		}
	})
	return count
}

func (o *order) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.Join(o.list, ", ")
}

// A handover leaves the host as it is, keeps what was learnt, and says goodbye
// to nobody; a stop does all of it.
func TestHandover(t *testing.T) {
	for name, test := range map[string]struct {
		cause    error
		order    string
		goodbyes int
	}{
		"handover": {ErrHandover, "device opened, device read, host configured, device paused, device closed", 0},
		"stop":     {nil, "device opened, device read, host configured, host emptied, host cleaned, device paused, device closed", 1},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				p := barePlane()
				network := servePipes(t, p)
				dir := t.TempDir()
				r := newBubbleRig(t, p, network, dir)
				r.keeping()
				end := r.until()
				r.waitState(Connected)
				synctest.Wait()
				peer := idOf("main")
				r.engine().do(func() { r.engine().peers[peer] = tailnet.PeerStatus{LastHandshake: time.Now(), Active: true} })
				began := time.Now()
				if err := end(test.cause); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(began); test.cause != nil && took != 0 {
					t.Errorf("the handover took %v", took)
				}
				if got := r.order.String(); got != test.order {
					t.Errorf("order %s, want %s", got, test.order)
				}
				synctest.Wait()
				if got := p.goodbyes(); got != test.goodbyes {
					t.Errorf("%d goodbyes, want %d", got, test.goodbyes)
				}
				kept, found, err := (store{dir}).load()
				if err != nil || !found || len(kept.Active) != 1 || kept.Active[0] != peer {
					t.Errorf("on disk %v, %t, %v", kept.Active, found, err)
				}
			})
		})
	}
}

// A handover before anything is known touches nothing.
func TestHandoverWhileNothingIsKnown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := barePlane()
		network := servePipes(t, p)
		network.set(func(n *pipes) { n.black = true })
		r := newBubbleRig(t, p, network, t.TempDir())
		r.keeping()
		end := r.until()
		synctest.Wait()
		if err := end(ErrHandover); err != nil {
			t.Fatal(err)
		}
		if got := r.order.String(); got != "device opened, device closed" {
			t.Errorf("order %s", got)
		}
	})
}

// A device that is taken away is replaced at once, under a host that stays as
// it is and peers that are not told.
func TestDeviceLost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := barePlane()
		peer := idOf("main")
		p.peers = []*tailnetv2.CoordinateResponse_PeerUpdate{{Id: peer[:], Kind: tailnetv2.CoordinateResponse_PeerUpdate_NODE, Node: &tailnetv2.Node{Id: 77}}}
		network := servePipes(t, p)
		r := newBubbleRig(t, p, network, t.TempDir())
		last := r.keeping()
		end := r.until()
		r.waitState(Connected)
		time.Sleep(time.Minute)
		first := r.engine()
		first.do(func() { first.peers[peer] = tailnet.PeerStatus{LastHandshake: time.Now(), Active: true} })
		began := time.Now()
		close(last().lost)
		synctest.Wait()
		second := r.engine()
		if second == first {
			t.Fatal("no other data plane")
		}
		r.waitState(Connected)
		if took := time.Since(began); took > time.Second {
			t.Errorf("connected again after %v", took)
		}
		if !second.kept.Identity.Node.Equal(first.kept.Identity.Node) {
			t.Error("it has another identity")
		}
		second.do(func() {
			if len(second.handshake) != 1 || second.handshake[0] != peer {
				t.Errorf("handshakes with %v", second.handshake)
			}
		})
		const once = "device opened, device read"
		if got := r.order.String(); got != once+", host configured, device paused, device closed, "+once {
			t.Errorf("order %s", got)
		}
		if got := p.goodbyes(); got != 0 {
			t.Errorf("%d goodbyes", got)
		}
		if !resolves(t, r.Tunnel, "main.myws.me.coder", "main") {
			t.Error("a known name does not answer")
		}
		if err := end(nil); err != nil {
			t.Errorf("Run ended with %v", err)
		}
		if got := r.order.String(); !strings.HasSuffix(got, "host emptied, host cleaned, device paused, device closed") {
			t.Errorf("order %s", got)
		}
	})
}
