package tailnet

import (
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/tailscale/wireguard-go/tun/tuntest"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/tailnetv2"
)

// deviceEngine is a real engine on a device of channels, without relays.
type deviceEngine struct {
	*Engine
	device *tuntest.ChannelTUN
	own    netip.Addr
}

func newDeviceEngine(tb testing.TB, adjust func(*Config)) deviceEngine {
	tb.Helper()
	id, device := uuid.New(), tuntest.NewChannelTUN()
	own := proto.AddrFromUUID(proto.ServicePrefix, id)
	config := Config{
		Logger: slog.New(slog.DiscardHandler), Device: device.TUN(), Identity: NewIdentity(),
		NodeID: proto.NodeIDFromUUID(id), Addresses: []netip.Prefix{netip.PrefixFrom(own, 128)},
	}
	if adjust != nil {
		adjust(&config)
	}
	engine, err := New(config)
	if err != nil {
		tb.Fatal(err)
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-device.Inbound:
			case <-stop:
				return
			}
		}
	}()
	tb.Cleanup(func() {
		if err := engine.Close(); err != nil {
			tb.Errorf("close engine: %v", err)
		}
		close(stop)
		<-done
	})
	return deviceEngine{engine, device, own}
}

// send gives the engine a packet from the host.
func (e deviceEngine) send(to netip.Addr) {
	packet := make([]byte, 48)
	packet[0], packet[5], packet[6], packet[7], packet[40] = 6<<4, 8, 58, 64, 128
	from, target := e.own.As16(), to.As16()
	copy(packet[8:], from[:])
	copy(packet[24:], target[:])
	e.device.Outbound <- packet
}

func (e deviceEngine) tell(tb testing.TB, updates ...*tailnetv2.CoordinateResponse_PeerUpdate) {
	tb.Helper()
	if err := e.UpdatePeers(updates); err != nil {
		tb.Fatal(err)
	}
}

// programmed says whether upstream has a peer.
func (e deviceEngine) programmed(id uuid.UUID) bool { return e.directory.peer(id) != nil }

func nodeUpdate(id uuid.UUID, node *tailnetv2.Node) *tailnetv2.CoordinateResponse_PeerUpdate {
	return &tailnetv2.CoordinateResponse_PeerUpdate{Id: id[:], Kind: kindNode, Node: node}
}

func readyUpdate(id uuid.UUID) *tailnetv2.CoordinateResponse_PeerUpdate {
	return &tailnetv2.CoordinateResponse_PeerUpdate{Id: id[:], Kind: kindReady}
}

func soon(tb testing.TB, what string, holds func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if holds() {
			return
		}
	}
	tb.Fatalf("never happened: %s", what)
}
