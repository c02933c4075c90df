package tailnet

import (
	"testing"

	"go.uber.org/goleak"
)

// wireguard begins the names of upstream's routines.
const wireguard = "github.com/tailscale/wireguard-go/device."

// TestMain looks for goroutines that are left. Upstream's own are spared: it
// makes a peer in two steps, and one that is taken out between them is started
// all the same, so that nobody can stop it (Device.LookupPeer against
// RemovePeer, v0.0.0-20260715223240). Tests that change peers under traffic
// meet that about once in ten runs.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction(wireguard+"(*Peer).RoutineSequentialSender"),
		goleak.IgnoreAnyFunction(wireguard+"(*Peer).RoutineSequentialReceiver"),
		goleak.IgnoreAnyFunction(wireguard+"(*Device).RoutineEncryption"),
		goleak.IgnoreAnyFunction(wireguard+"(*Device).RoutineDecryption"),
		goleak.IgnoreAnyFunction(wireguard+"newOutboundQueue.func1"),
		goleak.IgnoreAnyFunction(wireguard+"newInboundQueue.func1"),
	)
}
