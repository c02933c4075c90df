package tunnel

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/dns"
	"github.com/causewayhq/causeway/netcfg"
	"github.com/causewayhq/causeway/tailnet"
)

// bubble runs a test on a fake clock. yamux keeps timers in a pool, and a
// timer of one bubble must not be met outside it: two collections empty the
// pool on each side.
func bubble(t *testing.T, test func(*testing.T)) {
	t.Helper()
	empty := func() { runtime.GC(); runtime.GC() }
	empty()
	defer empty()
	synctest.Test(t, test)
}

// pipes is a network of pipes to one control plane, which a bubble understands.
// Black means that packets vanish; down, that connections are refused.
type pipes struct {
	accept chan net.Conn
	closed chan struct{}
	once   sync.Once

	mu          sync.Mutex
	black, down bool
	dials       []time.Time
	addresses   []string
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.accept:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) set(change func(*pipes)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(p)
}

func (p *pipes) dialed() (times []time.Time) {
	p.set(func(p *pipes) { times = append(times, p.dials...) })
	return times
}

func (p *pipes) connect(ctx context.Context, _, address string) (net.Conn, error) {
	var black, down bool
	p.set(func(p *pipes) {
		p.dials, p.addresses = append(p.dials, time.Now()), append(p.addresses, address)
		black, down = p.black, p.down
	})
	switch {
	case black:
		<-ctx.Done()
		return nil, ctx.Err()
	case down:
		return nil, errors.New("connection refused")
	}
	near, far := net.Pipe()
	select {
	case p.accept <- far:
		return near, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

var planeAddr = netip.MustParseAddr("192.0.2.80")

// servePipes serves a plane as http://plane.test on a network of pipes.
func servePipes(t *testing.T, p *plane) *pipes {
	t.Helper()
	network := &pipes{accept: make(chan net.Conn), closed: make(chan struct{})}
	p.url = &url.URL{Scheme: "http", Host: "plane.test"}
	server := &http.Server{Handler: p}
	var done sync.WaitGroup
	done.Go(func() { _ = server.Serve(network) })
	t.Cleanup(func() { p.drop(); server.Close(); done.Wait(); p.active.Wait() })
	return network
}

// udpOnly is the resolver without TCP, whose stack keeps timers that a bubble
// does not know.
type udpOnly struct{ *resolver }

func (udpOnly) close() {}

// newBubbleRig is a rig on a network of pipes, whose resolver works.
func newBubbleRig(t *testing.T, p *plane, network *pipes, dir string) *rig {
	t.Helper()
	r := newRig(t, p, dir)
	r.addresses.lookup, r.addresses.connect = answering(planeAddr), network.connect
	r.parts = func(in ingredients) (Engine, answers, error) {
		e := &engine{device: in.device, kept: in.kept, began: in.began, homed: in.homed, peers: map[uuid.UUID]tailnet.PeerStatus{}}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.engines = append(r.engines, e)
		return e, udpOnly{&resolver{dns: dns.New([]string{in.kept.Suffix}), ready: make(chan struct{}), log: in.log}}, nil
	}
	return r
}

// lived is a state directory that a tunnel has been connected with.
func lived(t *testing.T, p *plane, network *pipes) string {
	t.Helper()
	dir := t.TempDir()
	r := newBubbleRig(t, p, network, dir).start()
	r.waitState(Connected)
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Names answer before anything has waited for the network, whatever the
// network does.
func TestStartFromCacheWaitsForNothing(t *testing.T) {
	for name, lame := range map[string]func(*rig, *pipes){
		"control plane blackholed": func(_ *rig, n *pipes) { n.black = true },
		"control plane refuses":    func(_ *rig, n *pipes) { n.down = true },
		"resolver dead as well": func(r *rig, n *pipes) {
			n.black = true
			r.addresses.lookup = unanswering
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				p := barePlane()
				network := servePipes(t, p)
				dir := lived(t, p, network)
				time.Sleep(3 * time.Hour)
				second := newBubbleRig(t, p, network, dir)
				network.set(func(n *pipes) { lame(second, n) })
				began := time.Now()
				second.start()
				synctest.Wait()
				if took := time.Since(began); took != 0 {
					t.Fatalf("waited %v", took)
				}
				if !resolves(t, second.Tunnel, "main.myws.me.coder", "main") {
					t.Fatal("a known name does not answer")
				}
				if second.host.last().Interface == "" {
					t.Error("the host is not configured")
				}
				time.Sleep(time.Minute)
				status := second.Status()
				if age := time.Since(status.WorkspacesAsOf); age < 3*time.Hour || age > 3*time.Hour+2*time.Minute {
					t.Errorf("age %v", age)
				}
				if status.State != Degraded || status.Problems[0].Code != CodeUnreachable || status.ControlConnected {
					t.Errorf("status %+v", status)
				}
				network.set(func(n *pipes) { n.black, n.down = false, false })
				second.Kick()
				if status := second.waitState(Connected); !status.ControlConnected || time.Since(status.WorkspacesAsOf) != 0 {
					t.Errorf("status %+v", status)
				}
			})
		})
	}
}

// A restart with a resolver that gives nothing dials where the control plane
// was before.
func TestRestartWithoutResolver(t *testing.T) {
	for name, lookup := range map[string]func(context.Context, string) ([]netip.Addr, error){
		"silent": unanswering, "denying": denying,
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				p := barePlane()
				network := servePipes(t, p)
				dir := lived(t, p, network)
				second := newBubbleRig(t, p, network, dir)
				second.addresses.lookup = lookup
				network.set(func(n *pipes) { n.addresses = nil })
				began := time.Now()
				second.start()
				second.waitState(Connected)
				if took := time.Since(began); took > plainStart {
					t.Errorf("took %v", took)
				}
				network.set(func(n *pipes) {
					if n.addresses[0] != planeAddr.String()+":80" {
						t.Errorf("dialled %v", n.addresses)
					}
				})
			})
		})
	}
}

// What the tunnel waits with ends at once when the host changes or the user
// asks; waking also opens the sockets anew.
func TestKickEndsTheWait(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := barePlane()
		network := servePipes(t, p)
		r := newBubbleRig(t, p, network, t.TempDir()).start()
		r.waitState(Connected)
		network.set(func(n *pipes) { n.down = true })
		p.drop()
		for name, kick := range map[string]func(){
			"user": r.Kick, "network": func() { r.host.changed(netcfg.NetworkChanged) }, "wake": func() { r.host.changed(netcfg.Woke) },
		} {
			r.idle(network)
			before := len(network.dialed())
			kick()
			synctest.Wait()
			dials := network.dialed()
			if len(dials) == before || !dials[before].Equal(time.Now()) {
				t.Errorf("%s: no dial at once", name)
			}
			rebinds := r.engine().rebindCount()
			time.Sleep(wakeDrain)
			synctest.Wait()
			// What the sockets hold is read before they are closed.
			if more := r.engine().rebindCount() - rebinds; (more == 1) != (name == "wake") {
				t.Errorf("%s: %d rebinds, after %d", name, more, rebinds)
			}
		}
	})
}

// idle lets the waits grow until the next dial is more than 2 s away.
func (r *rig) idle(network *pipes) {
	r.t.Helper()
	for range 100 {
		time.Sleep(3 * time.Second)
		synctest.Wait()
		before := len(network.dialed())
		// Dials take no time here, so the wait that begins now is seen whole by
		// whoever sees nothing for 2 s.
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if len(network.dialed()) == before {
			return
		}
	}
	r.t.Fatal("the waits do not grow")
}
