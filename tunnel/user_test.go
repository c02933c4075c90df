package tunnel

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/client"
	"github.com/causewayhq/causeway/control"
	"github.com/causewayhq/causeway/netcfg"
	"github.com/causewayhq/causeway/proto/tailnetv2"
	"github.com/causewayhq/causeway/tailnet"
)

// From the moment on which the control plane names another user until the old
// data plane has gone, nothing that the old one hears or saves may become the
// new user's.
func TestAnotherUserGetsNothingOfTheFirst(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := barePlane()
		network := servePipes(t, p)
		dir := lived(t, p, network)
		peer := idOf("main")
		p.set(func(p *plane) {
			p.peers = []*tailnetv2.CoordinateResponse_PeerUpdate{{Id: peer[:], Kind: tailnetv2.CoordinateResponse_PeerUpdate_NODE, Node: &tailnetv2.Node{Id: 77}}}
		})
		r := newBubbleRig(t, p, network, dir)
		bob := uuid.New()
		watched := &emptying{host: r.host, emptied: func() {
			if kept := r.kept(); kept.User.ID == bob && (len(kept.Active) > 0 || kept.Workspaces != nil) {
				t.Errorf("while the old one ends, %s has %v", kept.User.Username, kept.Active)
			}
			disk, found, err := (store{dir}).load()
			if err != nil || !found || disk.User.ID == bob {
				t.Errorf("while the old one ends, the disk is of %q, %v", disk.User.Username, err)
			}
		}}
		r.config.OS = watched
		r.start()
		r.waitState(Connected)
		synctest.Wait()
		first := r.kept()
		old := r.engine()
		old.do(func() { old.peers[peer] = tailnet.PeerStatus{LastHandshake: time.Now()} })
		time.Sleep(probeEvery) // it is one of those in use
		p.set(func(p *plane) { p.user, p.username, p.peers = bob, "bob", nil })
		time.Sleep(refreshEvery)
		status := r.wait("bob", func(s Status) bool { return s.User == "bob" && s.State == Connected })
		synctest.Wait()
		time.Sleep(time.Minute)
		kept, found, err := (store{dir}).load()
		if err != nil || !found {
			t.Fatal(found, err)
		}
		if kept.User.ID != bob || kept.ClientID == first.ClientID || kept.Identity.Node.Equal(first.Identity.Node) || len(kept.Active) > 0 || len(kept.Nodes) > 0 {
			t.Errorf("on disk %+v", kept.User)
		}
		if status.Address == first.address().Addr() {
			t.Error("the address is that of the first user")
		}
	})
}

// emptying is a host that tells when it is first emptied.
type emptying struct {
	*host
	emptied func()
	once    sync.Once
}

func (e *emptying) Apply(ctx context.Context, want netcfg.Config) error {
	if want.Interface == "" {
		e.once.Do(e.emptied)
	}
	return e.host.Apply(ctx, want)
}

// What reaches the old session after it was told to end is not lost on the
// disk of the same user, and never another's.
func TestLateNewsOfAnOldSession(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := barePlane()
		network := servePipes(t, p)
		r := newBubbleRig(t, p, network, t.TempDir()).start()
		r.waitState(Connected)
		s := &session{tunnel: r.Tunnel, dirty: make(chan struct{}, 1), host: make(chan struct{}, 1)}
		if !s.learn(about{user: client.User{ID: uuid.New(), Username: "bob"}}) {
			t.Fatal("another user needs no other data plane")
		}
		s.resumeChanged(control.ResumeToken{Token: "late"})
		kept := r.kept()
		if kept.User.Username != "alice" || kept.Resume != (control.ResumeToken{Token: "late"}) || kept.Workspaces == nil {
			t.Errorf("kept %q of %q", kept.Resume.Token, kept.User.Username)
		}
	})
}
