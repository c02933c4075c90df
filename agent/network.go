package agent

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/control"
	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/tailnet"
	"github.com/causewayhq/causeway/tailnet/userspace"
)

// sshPorts are those on which the SSH server listens.
var sshPorts = []uint16{22, 1}

// network is the tailnet as far as the agent needs it.
type network interface {
	control.Coordinatee
	SetRelayMap(proto.RelayMap)
	SetControlConnected(bool)
	// Latencies are those of the peers in use that answer before ctx ends.
	Latencies(ctx context.Context) []time.Duration
	// ActivePeers are those that had a session in this process.
	ActivePeers() []uuid.UUID
	// Handshake starts handshakes with these, now or as soon as they are known.
	Handshake([]uuid.UUID)
	// Identity is the one that is in use, with the UDP port.
	Identity() tailnet.Identity
	// Listen takes TCP connections to a port of every own address.
	Listen(port uint16) (net.Listener, error)
	// HandleTCP and HandleUDP are asked about ports that nobody listens on.
	HandleTCP(func(port uint16) (func(net.Conn), bool))
	HandleUDP(func(port uint16) (func(net.Conn), bool))
	Close() error
}

// openNetwork starts a network.
type openNetwork func(userspace.Config) (network, error)

func openUserspace(config userspace.Config) (network, error) {
	stack, err := userspace.New(config)
	if err != nil {
		return nil, err
	}
	return userspaceNetwork{Engine: stack.Engine(), Net: stack}, nil
}

// userspaceNetwork is an engine with its network stack, which owns it.
type userspaceNetwork struct {
	*tailnet.Engine
	*userspace.Net
}

// Close ends both.
func (n userspaceNetwork) Close() error { return n.Net.Close() }

// install makes the manifest the current one, and a network for it if the one
// there is does not fit. It runs in the control loop, which uses the network
// from then on.
func (a *agent) install(next manifest) error {
	a.mu.Lock()
	a.manifest = next
	current, fits := a.network, a.network != nil && a.shape == next.shape
	a.mu.Unlock()
	if fits {
		return nil
	}
	if current != nil {
		a.log.Warn("the manifest demands another network; open sessions end")
		if err := a.closeNetwork(); err != nil {
			a.log.Warn("network did not close cleanly", slog.String("error", err.Error()))
		}
	}
	forwards := newForwarder()
	created, err := a.open(userspace.Config{
		Logger: a.netLog, Identity: a.state.Identity(), NodeID: proto.NodeIDFromUUID(next.id), Addresses: prefixes(next),
		DirectDisabled: next.shape.directDisabled, ForceWebsocket: next.shape.forceWebsocket, Relay: a.relayDial(), Meter: &a.reports.meter,
		SessionBegan: a.sessionBegan,
	})
	if err != nil {
		return fmt.Errorf("start network: %w", err)
	}
	if err := a.listen(created, forwards); err != nil {
		created.Close()
		return err
	}
	if err := a.state.SetIdentity(created.Identity()); err != nil {
		// The network works; only the next start may take another UDP port.
		a.log.Warn("UDP port not kept", slog.String("error", err.Error()))
	}
	if next.relays.DERPMap != nil {
		created.SetRelayMap(next.relays.RewriteEmbedded(a.config.URL))
	}
	a.log.Debug("network started", slog.String("agent", next.id.String()), slog.Int("udp_port", int(created.Identity().Port)))
	a.mu.Lock()
	a.network, a.forwards, a.shape = created, forwards, next.shape
	a.mu.Unlock()
	a.loop.Coordinatee = created
	a.greetPeers(created)
	return nil
}

// relayDial makes relays see the headers that the control plane sees.
func (a *agent) relayDial() tailnet.RelayDial {
	return tailnet.RelayDial{Headers: func() http.Header { return a.config.Header.Clone() }}
}

func prefixes(m manifest) []netip.Prefix {
	var result []netip.Prefix
	for _, address := range proto.AgentAddrs(m.id) {
		result = append(result, netip.PrefixFrom(address, address.BitLen()))
	}
	return result
}

// listen connects the network's ports to what serves them.
func (a *agent) listen(created network, forwards *forwarder) error {
	created.HandleTCP(forwards.tcp)
	created.HandleUDP(forwards.udp)
	for _, port := range sshPorts {
		listener, err := created.Listen(port)
		if err != nil {
			return fmt.Errorf("listen on port %d of the tailnet: %w", port, err)
		}
		a.work.Go(func() {
			// The listener ends with its network, which is no news.
			if err := a.ssh.Serve(listener); err != nil {
				a.log.Debug("ssh listener ended", slog.String("error", err.Error()))
			}
		})
	}
	if err := a.listenTerminals(created); err != nil {
		return err
	}
	return a.listenBeside(created)
}

func (a *agent) closeNetwork() error {
	a.mu.Lock()
	current, forwards := a.network, a.forwards
	a.network, a.forwards = nil, nil
	a.mu.Unlock()
	if current == nil {
		return nil
	}
	forwards.close()
	if err := current.Close(); err != nil {
		return fmt.Errorf("close network: %w", err)
	}
	return nil
}

func (a *agent) setRelayMap(relays proto.RelayMap) {
	a.mu.Lock()
	current := a.network
	a.mu.Unlock()
	if current != nil {
		current.SetRelayMap(relays)
	}
}
