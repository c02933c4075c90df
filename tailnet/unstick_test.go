package tailnet

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/proto"
)

// TestPeerThatPingsAndLeaves: WireGuard stops a peer under the lifecycle's lock,
// the peer's receiver answers pings meanwhile, and the reader of the device,
// which would take the answers, waits for that lock.
func TestPeerThatPingsAndLeaves(t *testing.T) {
	e := newDeviceEngine(t, nil)
	e.send(proto.AddrFromUUID(proto.ServicePrefix, uuid.New())) // the reader is there
	stopped := make(chan struct{})
	func() {
		e.peers.mu.Lock()
		defer e.peers.mu.Unlock()
		e.send(proto.AddrFromUUID(proto.ServicePrefix, uuid.New()))
		go func() {
			defer close(stopped)
			e.stopPeers(func() {
				for range 5 {
					_ = e.system.Tun.Get().InjectOutbound([]byte{6 << 4, 6: 59, 39: 0})
				}
			})
		}()
		select {
		case <-stopped:
		case <-time.After(10 * time.Second):
			t.Error("the data plane is stuck")
		}
	}()
	<-stopped
	// Whoever read in between is gone, and the reader is not.
	id := uuid.New()
	e.announce(t, id, testNode(id))
	soon(t, "a packet that makes a session begin", func() bool {
		e.send(proto.AgentAddrs(id)[1])
		peer := e.directory.peer(id)
		if peer == nil {
			return false
		}
		_, tried := e.upstream.PeerByKey(peer.node.Key)
		return tried
	})
}
