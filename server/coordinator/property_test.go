package coordinator

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/proto/tailnetv2"
)

var (
	seedFlag  = flag.Uint64("seed", 1, "first seed of the property test")
	seedCount = flag.Uint64("sequences", 300, "how many sequences the property test plays")
)

// actors of the property test: agents, clients that may reach every agent,
// trusted peers, and strangers, who may reach nobody.
var actors = []string{"a1", "a2", "a3", "c1", "c2", "c3", "s1", "s2", "m1"}

const filler = "filler"

// TestModel plays random sequences of everything that peers can do against the
// coordinator and its model. Run one again with -seed N -sequences 1.
func TestModel(t *testing.T) {
	for seed := *seedFlag; seed < *seedFlag+*seedCount; seed++ {
		p := newPlay(t, seed)
		for range 80 {
			p.step()
			if p.random.IntN(3) == 0 {
				p.compare()
			}
			if t.Failed() {
				t.Fatalf("seed %d; the last steps:\n%s", seed, strings.Join(p.log[max(0, len(p.log)-25):], "\n"))
			}
		}
		for _, name := range actors {
			p.drain(name)
		}
		p.compare()
		checkLinks(t, p.rig.c)
		p.rig.c.Close()
		if t.Failed() {
			t.Fatalf("seed %d; all steps:\n%s", seed, strings.Join(p.log, "\n"))
		}
	}
}

// play is one sequence.
type play struct {
	rig     *rig
	world   *world
	random  *rand.Rand
	views   map[string]*view
	cancels map[string]context.CancelFunc
	names   map[uuid.UUID]string
	version int
	log     []string
}

func newPlay(t *testing.T, seed uint64) *play {
	p := &play{
		rig: newRig(t), world: newWorld(), random: rand.New(rand.NewPCG(seed, 0)),
		views: map[string]*view{}, cancels: map[string]context.CancelFunc{}, names: map[uuid.UUID]string{},
	}
	for _, name := range actors {
		p.names[p.rig.id(name)] = name
	}
	return p
}

func (p *play) pick() string { return actors[p.random.IntN(len(actors))] }

// step lets one peer do one thing.
func (p *play) step() {
	name := p.pick()
	switch {
	case p.world.peers[name] == nil && p.random.IntN(5) == 0:
		p.note("%s is revoked while it is away", name)
		p.rig.c.Forget(p.rig.id(name), "revoked")
		p.world.revoke(name)
		p.world.settle()
		return
	case p.world.peers[name] == nil || p.random.IntN(15) == 0:
		p.connect(name)
		return
	}
	switch chance := p.random.IntN(100); {
	case chance < 70:
		p.request(name)
	case chance < 76:
		p.note("%s crashes", name)
		p.cancels[name]()
		<-p.rig.peers[name].Done()
		p.rig.c.Connected(uuid.Nil) // the lock is free once all have been told
		p.world.leave(name, "LOST", context.Canceled.Error())
		p.world.settle()
	case chance < 80:
		p.note("%s breaks off", name)
		p.rig.peers[name].Close()
		p.world.leave(name, "LOST", "")
		p.world.settle()
	case chance < 83:
		p.note("%s is revoked", name)
		p.rig.peers[name].End(Gone, "revoked")
		p.world.leave(name, "DISCONNECTED", "revoked")
		p.world.settle()
	case chance < 90:
		p.jam(name)
	default:
		p.drain(name)
	}
}

func (p *play) note(format string, args ...any) { p.log = append(p.log, fmt.Sprintf(format, args...)) }

func (p *play) connect(name string) {
	p.note("%s connects", name)
	old := p.rig.peers[name]
	took := p.world.peers[name] != nil
	ctx, cancel := context.WithCancel(context.Background())
	p.rig.t.Cleanup(cancel)
	p.cancels[name] = cancel
	if name[0] == 'm' {
		refuse := func(context.Context, uuid.UUID) error { return errors.New("not yours") }
		s, err := p.rig.c.Connect(ctx, p.rig.id(name), name, UserAuth(refuse))
		if err != nil {
			p.rig.t.Fatal(err)
		}
		p.rig.peers[name] = s
	} else {
		p.rig.connectCtx(ctx, name)
	}
	if took {
		last := p.views[name]
		p.listen(old, last)
		if last.last != "peer ID overwritten by new connection" || !last.over {
			p.rig.t.Errorf("%s was taken over and heard %q", name, last.last)
		}
	}
	p.views[name] = newView()
	p.world.connect(name)
	p.world.settle()
}

// jam fills the queue of a peer that has stopped reading.
func (p *play) jam(name string) {
	p.note("%s stops reading", name)
	s := p.rig.peers[name]
	for s.push(response{wire: ErrorResponse(filler)}) {
		continue
	}
	p.world.peers[name].jammed = true
}

// drain lets a peer read all that waits for it.
func (p *play) drain(name string) {
	if p.rig.peers[name] == nil {
		return
	}
	p.listen(p.rig.peers[name], p.views[name])
	if peer := p.world.peers[name]; peer != nil {
		peer.jammed = false
	}
}

func (p *play) listen(s *Stream, into *view) {
	over, cancel := context.WithCancel(context.Background())
	cancel()
	for {
		message, err := s.Recv(over)
		if err != nil {
			into.over = errors.Is(err, io.EOF)
			return
		}
		for _, update := range message.GetPeerUpdates() {
			about := p.names[uuid.UUID(update.GetId())]
			switch update.GetKind() {
			case kindNode:
				into.nodes[about] = int(update.GetNode().GetPreferredDerp())
				delete(into.kinds, about)
			case kindReady:
				into.readies = append(into.readies, about)
			default:
				if into.nodes[about] == 0 {
					if update.GetKind() != kindDisconnected {
						p.rig.t.Errorf("%s is lost without having been announced", about)
					}
					into.gone[about]++
				}
				delete(into.nodes, about)
				into.kinds[about] = update.GetKind().String()
			}
		}
		switch text := message.GetError(); {
		case text == "" || text == filler:
		case strings.HasPrefix(text, "ready for handshake error: "):
			into.errors++
		default:
			into.last = text
		}
	}
}

// request sends a request of one to three parts.
func (p *play) request(name string) {
	req, other := &tailnetv2.CoordinateRequest{}, p.pick()
	version := 0
	for range 1 + p.random.IntN(3) {
		switch p.random.IntN(20) {
		case 0, 1, 2, 3, 4, 5, 6:
			p.version++
			if version = p.version; p.random.IntN(4) == 0 && p.world.peers[name].version > 0 {
				version = p.world.peers[name].version // an equal node
			}
			req.UpdateSelf = updateSelf(p.rig.node(name, version)).GetUpdateSelf()
		case 7, 8, 9, 10, 11:
			// A client that holds its own address is refused a tunnel to itself,
			// like one that has taken an agent's.
			if (name[0] != 'a' || p.random.IntN(10) == 0) && (name[0] != 'c' || other != name) {
				req.AddTunnel = addTunnel(p.rig.id(other)).GetAddTunnel()
			}
		case 12, 13, 14:
			req.RemoveTunnel = removeTunnel(p.rig.id(other)).GetRemoveTunnel()
		case 15, 16, 17, 18:
			if name[0] == 'a' || name[0] == 's' || p.random.IntN(10) == 0 {
				req.ReadyForHandshake = ready(p.rig.id(other)).GetReadyForHandshake()
			}
		case 19:
			if p.random.IntN(2) == 0 {
				req.Disconnect = disconnect().GetDisconnect()
			}
		}
	}
	p.note("%s: version %d of node %v, add %v, remove %v, ready %v (of %s), disconnect %v", name, version, req.GetUpdateSelf() != nil,
		req.GetAddTunnel() != nil, req.GetRemoveTunnel() != nil, req.GetReadyForHandshake() != nil, other, req.GetDisconnect() != nil)
	err := p.rig.peers[name].Send(req)
	if refusal := refusalOf(name, other, req); refusal != "" {
		if err == nil || err.Error() != refusal {
			p.rig.t.Errorf("%s was answered %v, want %q", name, err, refusal)
		}
		p.world.leave(name, "LOST", refusal)
		p.world.settle()
		return
	}
	if err != nil {
		p.rig.t.Errorf("%s was refused: %v", name, err)
	}
	p.apply(name, other, version, req)
}

// refusalOf is what a request must be refused with.
func refusalOf(name, other string, req *tailnetv2.CoordinateRequest) string {
	switch class := name[0]; {
	case class == 'a' && req.GetAddTunnel() != nil:
		return "authorization: agents cannot open tunnels"
	case (class == 'c' || class == 'm') && len(req.GetReadyForHandshake()) > 0:
		return "authorization: clients may not send ready_for_handshake"
	case class == 'm' && req.GetAddTunnel() != nil:
		return "authorization: workspace agent not found or you do not have permission"
	}
	return ""
}

// apply tells the model, in the order of the protocol.
func (p *play) apply(name, other string, version int, req *tailnetv2.CoordinateRequest) {
	if req.GetUpdateSelf() != nil {
		p.world.update(name, version)
	}
	if req.GetAddTunnel() != nil {
		p.world.open(name, other)
	}
	if req.GetRemoveTunnel() != nil {
		p.world.shut(name, other)
	}
	switch {
	case req.GetDisconnect() != nil:
		p.world.leave(name, "DISCONNECTED", "")
	case req.GetReadyForHandshake() != nil:
		p.world.ready(name, other)
	}
	p.world.settle()
}

// compare holds every peer that reads to the model.
func (p *play) compare() {
	for _, name := range actors {
		if peer := p.world.peers[name]; p.views[name] == nil || peer != nil && peer.jammed {
			continue
		}
		p.drain(name)
		if err := p.world.against(name, p.views[name]); err != nil {
			p.rig.t.Error(err)
		}
	}
	for a := range p.world.peers {
		for b := range p.world.peers {
			if a[0] == 'm' && len(p.rig.c.links[p.rig.id(a)]) > 0 && p.opened(a) {
				p.rig.t.Errorf("the stranger %s has a tunnel", a)
			}
			if p.world.peers[a].version > 0 && p.world.peers[b].version > 0 && p.world.partners(a, b) && !p.rig.c.MayRelay(p.rig.keys[a], p.rig.keys[b]) {
				p.rig.t.Errorf("the relay serves no tunnel between %s and %s", a, b)
			}
		}
	}
}

func (p *play) opened(name string) bool {
	for _, l := range p.rig.c.links[p.rig.id(name)] {
		if l.out {
			return true
		}
	}
	return false
}

// checkLinks holds that both ends of a link agree, and that none is idle.
func checkLinks(t *testing.T, c *Coordinator) {
	t.Helper()
	for a, partners := range c.links {
		for b, l := range partners {
			mirror := c.links[b][a]
			if mirror == nil || l.out != mirror.in || l.in != mirror.out || (!l.out && !l.in) {
				t.Fatalf("links of %s and %s disagree", a, b)
			}
		}
	}
}
