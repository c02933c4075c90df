package tailnet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/google/uuid"
	"github.com/tailscale/wireguard-go/tun"
	_ "tailscale.com/feature/portmapper" // a mapped port turns many a relayed path into a direct one
	"tailscale.com/net/dns"
	"tailscale.com/net/netmon"
	"tailscale.com/net/netns"
	"tailscale.com/net/tsdial"
	"tailscale.com/tsd"
	"tailscale.com/types/key"
	"tailscale.com/types/logger"
	"tailscale.com/util/eventbus"
	"tailscale.com/wgengine"
	"tailscale.com/wgengine/magicsock"
	"tailscale.com/wgengine/router"
	"tailscale.com/wgengine/wgcfg"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/tailnetv2"
	"github.com/causewayhq/causeway/tailnet/relaybridge"
)

var errClosed = errors.New("engine is closed")

// Config describes an engine. Logger, Identity, NodeID, Addresses and one of
// Device and Attach are required.
type Config struct {
	Logger *slog.Logger
	// Device carries the host's packets; the engine closes it.
	Device tun.Device
	// DeviceName is the name of its interface, "" if it has none. Upstream's
	// network monitor leaves that interface alone.
	DeviceName string
	Identity   Identity
	// NodeID is positive, see proto.NodeIDFromUUID.
	NodeID int64
	// Addresses are our own, single ones inside the tunnel's prefixes.
	Addresses []netip.Prefix
	// DirectDisabled means relays only: nothing is sent over UDP at all.
	DirectDisabled bool
	// ForceWebsocket means that relays are reached by websocket only.
	ForceWebsocket bool
	Relay          RelayDial
	// Service gets the packets for one address that no peer has, nil for none.
	Service *Service
	// Attach is called with upstream's parts before the first packet flows. It
	// is for tailnet/userspace, which brings a network stack in place of a Device.
	Attach func(*tsd.System) error
	// SessionBegan is told when a peer has its first session in this process. It
	// is called under WireGuard's locks and must not block. Nil for nobody.
	SessionBegan func()
	// HomeRelayChanged is told when HomeRelay may say something else than before,
	// except for what only asking tells. It must not block. Nil for nobody.
	HomeRelayChanged func()
}

// RelayDial says how relays are reached.
type RelayDial = relaybridge.Dial

// Service is an address inside the tunnel that the host itself serves.
type Service struct {
	Addr netip.Addr
	// Handle gets every packet that the host sends to Addr. The packet is valid
	// during the call only; Handle must not block.
	Handle func(packet []byte)
}

// Engine is a running data plane. All methods are safe for concurrent use.
type Engine struct {
	config    Config
	logger    *slog.Logger
	system    *tsd.System
	upstream  wgengine.Engine
	magic     *magicsock.Conn
	monitor   *netmon.Monitor
	bridge    *relaybridge.Bridge
	directory *directory
	peers     *lifecycle
	publisher *publisher
	homing    *homing
	events    *eventbus.Client
	// upgrades are peers to look for a direct path to.
	upgrades chan uuid.UUID
	// refusals writes what is wrong with updates of peers.
	refusals *refusals
	// relaysOnly says that nothing is sent over UDP at all.
	relaysOnly atomic.Bool
	// shaken holds one token while waited is not empty, knocks are the keys of
	// senders that are not programmed.
	shaken chan struct{}
	knocks chan key.NodePublic
	// repeats are handshakes to look after.
	repeats chan repeat
	// failover watches the direct paths, relayed are its messages from peers.
	failover *failover
	relayed  chan relayedMessage
	// sizing is for paths that are too small.
	sizing sizing

	// deviceGiven says that upstream closes the device, also when it fails.
	deviceGiven bool

	stop    context.CancelFunc
	running sync.WaitGroup

	mu sync.Mutex
	// relays is the map as it was given, before the bridge rewrote it.
	relays proto.RelayMap
	// waited are the peers that somebody waits for a session with.
	waited    map[uuid.UUID]struct{}
	closeOnce sync.Once
	// closing makes us know no peer any more: one that upstream makes while it
	// stops all others would never be stopped.
	closing atomic.Bool
}

// New starts an engine. Close stops it; if New fails, the device is closed.
func New(config Config) (*Engine, error) {
	if err := config.check(); err != nil {
		if config.Device != nil {
			err = errors.Join(err, config.Device.Close())
		}
		return nil, fmt.Errorf("start tunnel engine: %w", err)
	}
	// Our routes cover only the tunnel's own addresses, so outer packets cannot
	// loop: they follow the host's routing, another VPN's routes included, and
	// not upstream's socket marks and interface bindings.
	netns.SetEnabled(false)
	e := &Engine{
		config: config, logger: config.Logger, system: tsd.NewSystem(), waited: map[uuid.UUID]struct{}{},
		upgrades: make(chan uuid.UUID, maxUpgrades), repeats: make(chan repeat, maxRepeats),
		relayed: make(chan relayedMessage, maxRelayed), sizing: newSizing(),
	}
	e.refusals, e.shaken, e.knocks = newRefusals(e.logger), make(chan struct{}, 1), make(chan key.NodePublic, maxKnocks)
	e.relaysOnly.Store(config.DirectDisabled)
	e.failover = newFailover(e.logger, e.carryOut)
	if err := e.start(); err != nil {
		if !e.deviceGiven && config.Device != nil {
			err = errors.Join(err, config.Device.Close())
		}
		return nil, fmt.Errorf("start tunnel engine: %w", errors.Join(err, e.Close()))
	}
	return e, nil
}

func (c Config) check() error {
	switch {
	case c.Logger == nil:
		return errors.New("no logger")
	case (c.Device == nil) == (c.Attach == nil):
		return errors.New("want either a device or a stack to attach")
	case c.Identity.Node.IsZero() || c.Identity.Disco.IsZero():
		return errors.New("identity has no keys")
	case c.NodeID <= 0:
		return fmt.Errorf("node id %d is not positive", c.NodeID)
	case len(c.Addresses) == 0:
		return errors.New("no address")
	case c.Service != nil && (!c.Service.Addr.IsValid() || c.Service.Handle == nil):
		return errors.New("service has no address or no handler")
	}
	for _, prefix := range c.Addresses {
		if !prefix.IsSingleIP() || !proto.ServicePrefix.Contains(prefix.Addr()) && !proto.TailscalePrefix.Contains(prefix.Addr()) {
			return fmt.Errorf("address %s is not a single one inside the tunnel's prefixes", prefix)
		}
	}
	return nil
}

func (e *Engine) start() error {
	self := selfNode(e.config)
	e.directory = newDirectory(self.View(), e.config.Addresses)
	e.publisher = newPublisher(e)
	e.homing = newHoming(e)
	e.peers = newLifecycle(newRoster(selfOf(e.config), e.lastHandshake), e.refreshHandshakes, e.apply)
	var ctx context.Context
	ctx, e.stop = context.WithCancel(context.Background())

	var err error
	e.bridge, err = relaybridge.New(relaybridge.Config{
		Logger: e.logger, Dial: e.config.Relay, ForceWebsocket: e.config.ForceWebsocket,
		Forced: e.publisher.setForced, Changed: e.relaysChanged, Carried: e.homeRelayChanged,
	})
	if err != nil {
		return err
	}
	if err := e.startUpstream(); err != nil {
		return err
	}
	e.wire()
	if e.config.Attach != nil {
		if err := e.config.Attach(e.system); err != nil {
			return fmt.Errorf("attach network stack: %w", err)
		}
	}
	e.system.Tun.Get().Start()
	e.upstream.SetSelfNode(self.View())
	e.magic.SetNetworkMap(self.View(), nil)
	err = e.upstream.Reconfig(
		&wgcfg.Config{PrivateKey: e.config.Identity.Node, Addresses: slices.Clone(e.config.Addresses)},
		&router.Config{LocalAddrs: slices.Clone(e.config.Addresses)}, &dns.Config{})
	if err != nil && !errors.Is(err, wgengine.ErrNoChanges) {
		return fmt.Errorf("configure WireGuard: %w", err)
	}
	e.running.Go(func() { e.publisher.run(ctx) })
	e.running.Go(func() { e.keepAlive(ctx) })
	e.running.Go(func() { e.upgrade(ctx) })
	e.running.Go(func() { e.repeatHandshakes(ctx) })
	e.running.Go(func() { e.attend(ctx) })
	e.running.Go(func() { e.failover.run(ctx) })
	e.running.Go(func() { e.answerRelayed(ctx) })
	e.running.Go(func() { e.homing.run(ctx) })
	return nil
}

// startUpstream makes upstream's parts, in the order in which they need each other.
func (e *Engine) startUpstream() error {
	logf := e.logf()
	if e.config.DeviceName != "" {
		netmon.SetTailscaleInterfaceProps(e.config.DeviceName, 0)
	}
	e.probeFullSize()
	bus := e.system.Bus.Get()
	monitor, err := netmon.New(bus, logf)
	if err != nil {
		return fmt.Errorf("watch network interfaces: %w", err)
	}
	e.monitor = monitor
	dialer := &tsdial.Dialer{Logf: logf}
	dialer.SetBus(bus)
	e.deviceGiven = true
	e.upstream, err = wgengine.NewUserspaceEngine(logf, wgengine.Config{
		Tun: e.config.Device, Router: idleRouter{}, DNS: idleDNS{}, ListenPort: e.config.Identity.Port,
		NetMon: monitor, Dialer: dialer, EventBus: bus, HealthTracker: e.system.HealthTracker.Get(),
		Metrics: e.system.UserMetricsRegistry(), ControlKnobs: e.system.ControlKnobs(), SetSubsystem: e.system.Set,
		ForceDiscoKey: e.config.Identity.Disco, OnDERPRecv: e.fromRelay,
	})
	if err != nil {
		return fmt.Errorf("make WireGuard engine: %w", err)
	}
	e.system.Set(e.upstream)
	e.magic = e.system.MagicSock.Get()
	return nil
}

// wire installs every callback; no packet flows before it is done.
func (e *Engine) wire() {
	e.magic.SetOnlyTCP443(e.relaysOnly.Load())
	e.upstream.SetPeerByIPPacketFunc(e.route)
	e.upstream.SetPeerConfigFunc(e.allowed)
	e.upstream.SetPeerForIPFunc(e.peerForIP)
	e.upstream.SetPeerSessionStateFunc(e.sessionChanged)
	e.upstream.SetFilter(allowLocal(e.config.Addresses, e.logf()))
	e.upstream.SetStatusCallback(e.publisher.setStatus)
	e.magic.SetNetInfoCallback(e.publisher.setNetInfo)
	e.events = e.system.Bus.Get().Client("causeway")
	eventbus.SubscribeFunc(e.events, e.publisher.setHome)
	eventbus.SubscribeFunc(e.events, e.homing.networkChanged)
	e.magic.SetConnectionCounter(e.packetSeen)
	if e.config.Service != nil {
		e.system.Tun.Get().PreFilterPacketOutboundToWireGuardNetstackIntercept = e.config.Service.intercept
	}
}

// SetRelayMap gives the relays. A map equal to the last one does nothing.
func (e *Engine) SetRelayMap(relays proto.RelayMap) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if relays.DERPMap == nil || relays.Equal(e.relays) {
		return
	}
	e.relays = relays
	e.programRelaysLocked()
}

// programRelaysLocked hands the map to upstream. The caller holds mu.
func (e *Engine) programRelaysLocked() {
	plan := planRegions(e.relays)
	e.magic.SetDERPMap(e.bridge.Rewrite(plan.relays))
	e.homing.settle(plan)
}

// relaysChanged is called when the bridge wants to carry other relays than before.
func (e *Engine) relaysChanged() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.relays.DERPMap != nil {
		e.programRelaysLocked()
	}
}

// SetControlConnected tells whether anybody would hear of a new home relay:
// without that, the home stays where it is.
func (e *Engine) SetControlConnected(connected bool) {
	if connected {
		e.system.HealthTracker.Get().GotStreamedMapResponse()
		e.homing.connected()
		return
	}
	e.system.HealthTracker.Get().SetOutOfPollNetMap()
}

// SetTunnelDestination marks a peer that we tunnel to; call it before the
// control plane is asked for the tunnel.
func (e *Engine) SetTunnelDestination(id uuid.UUID) { e.peers.setDestination(id) }

// ClearTunnelDestination takes that mark away.
func (e *Engine) ClearTunnelDestination(id uuid.UUID) { e.peers.clearDestination(id) }

// UpdatePeers applies a batch of updates. Bad ones are skipped, the others are
// applied; what is wrong with a bad one is written once, however often it comes.
func (e *Engine) UpdatePeers(updates []*tailnetv2.CoordinateResponse_PeerUpdate) error {
	problems := e.peers.update(updates)
	if slices.Equal(problems, []error{errClosed}) {
		return errClosed
	}
	e.refusals.write(problems)
	for _, update := range updates {
		if update.GetKind() == tailnetv2.CoordinateResponse_PeerUpdate_READY_FOR_HANDSHAKE {
			e.acknowledged(update.GetId())
		}
	}
	return nil
}

// NodeWires are the last nodes of peers in wire form, as far as they are known.
// They are not to be changed.
func (e *Engine) NodeWires(ids []uuid.UUID) map[uuid.UUID][]byte { return e.peers.wires(ids) }

// SetAllPeersLost is for the loss of the control connection: peers stay until
// 15 minutes after their last handshake.
func (e *Engine) SetAllPeersLost() { e.peers.allLost() }

// Identity is the one given, with the UDP port that is really in use: it is
// another one than asked for if that was taken.
func (e *Engine) Identity() Identity {
	identity := e.config.Identity
	identity.Port = e.magic.LocalPort()
	return identity
}

// Rebind opens the UDP sockets anew and measures the network again, for use
// after sleep or a change of networks that upstream did not notice.
func (e *Engine) Rebind() {
	e.magic.Rebind()
	e.magic.ReSTUN("rebind-requested")
	e.homing.poke()
}

// Close stops everything and waits for it. The device is closed too.
func (e *Engine) Close() error {
	var err error
	e.closeOnce.Do(func() {
		if e.stop != nil {
			e.stop()
		}
		e.running.Wait()
		if e.peers != nil {
			e.peers.close()
		}
		// The bridge calls back into us, so it ends before upstream does.
		if e.bridge != nil {
			err = errors.Join(err, e.bridge.Close())
		}
		if e.upstream != nil {
			e.closing.Store(true)
			e.upstream.Close()
		}
		if e.events != nil {
			e.events.Close()
		}
		if dialer, found := e.system.Dialer.GetOK(); found {
			err = errors.Join(err, dialer.Close())
		}
		if e.monitor != nil {
			err = errors.Join(err, e.monitor.Close())
		}
		e.system.Bus.Get().Close()
	})
	return err
}

// logf writes upstream's lines at debug level: they are for developers.
func (e *Engine) logf() logger.Logf {
	return func(format string, args ...any) {
		if ctx := context.Background(); e.logger.Enabled(ctx, slog.LevelDebug) {
			e.logger.LogAttrs(ctx, slog.LevelDebug, "upstream", slog.String("line", fmt.Sprintf(format, args...)))
		}
	}
}
