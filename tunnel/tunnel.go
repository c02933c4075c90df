// Package tunnel assembles the control connection, the data plane, the
// resolver and the host's configuration into one running tunnel, and measures
// whether it works.
//
//	tunnel.go    what a tunnel is given, and its face to the service
//	run.go       boot order and shutdown, top to bottom
//	leave.go     what becomes of the host at the end
//	again.go     when a device that was taken away is opened again
//	assemble.go  the only file that knows the concrete data plane and resolver
//	token.go     the token of the present, and its exchange
//	bootstrap.go who we are and how agents are reached, from the control plane
//	addresses.go where the control plane and the relays were reached before
//	web.go       the HTTP client that dials by those addresses
//	headers.go   what goes with every request
//	persist.go   what outlives the process
//	names.go     from workspaces to answers and host entries
//	peers.go     gives the data plane what an earlier process knew
//	saver.go     writes what is kept, soon after each change
//	host.go      keeps the host at the wanted state
//	canary.go    asks the host's own resolver whether names work
//	trouble.go   what is wrong on the host although it was configured
//	agents.go    what is wrong with the agents that are in use
//	forward.go   passes on what is not ours, if that is wanted
//	probe.go     pings the agents that are in use
//	contact.go   how long the control plane has been away, and what that means
//	relay.go     whether the home relay is there
//	telemetry.go tells how agents are reached, if that is switched on
//	state.go     the states, as a pure function of measured facts
//	status.go    the snapshot that users see
//	inventory.go everything that exists, for another front
package tunnel

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/client"
	"github.com/causewayhq/causeway/control"
	"github.com/causewayhq/causeway/netcfg"
	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/tailnet"
	"github.com/causewayhq/causeway/tun"
	"github.com/causewayhq/causeway/workspace"
)

// MTU of the tunnel, in bytes: the least that IPv6 allows, so that an outer
// path of 1360 bytes carries it whole.
const MTU = 1280

// DefaultInterface is the name of the device when the caller has none.
const DefaultInterface = "causeway0"

// Token is the session token of the user; it never shows in logs.
type Token = client.Token

// Profile says which deployment, and as whom.
type Profile struct {
	// URL is the access URL of the deployment.
	URL *url.URL
	// Token of the user's session, until SetToken replaces it.
	Token Token
	// User may be left empty. When it is known, what an earlier process kept is
	// used for this user only, even if the token is a new one; when it is not,
	// for this token only.
	User client.User
	// Headers go with every request, websocket and relay connection.
	Headers http.Header
	// HeaderSource gives more of them, as values that change; nil for none. It is
	// asked before the first request, and again when one was refused.
	HeaderSource func(context.Context) (http.Header, error)
	// TLS of connections to the control plane and to relays; nil for defaults.
	TLS *tls.Config
	// Proxy leads to the control plane and to relays; nil for what the
	// environment says.
	Proxy *url.URL
}

// Config of a tunnel. Logger, Profile, StateDir, OS and OpenDevice are required.
type Config struct {
	Logger  *slog.Logger
	Profile Profile
	// StateDir belongs to the tunnel alone; it is made with mode 0700.
	StateDir string
	OS       netcfg.OS
	// OpenDevice opens the TUN device; its error ends Run.
	OpenDevice func(name string, mtu int) (tun.Device, error)
	// Interface is the name of the device; empty is DefaultInterface.
	Interface string
	// Telemetry tells the control plane how agents are reached. Addresses and
	// host names are hashed.
	Telemetry bool
	// DNSForwarder has the system itself ask us, also where that means touching
	// its configuration; a query that is not ours goes to the host's own name
	// servers.
	DNSForwarder bool
	// Version of this program, for telemetry.
	Version string
}

// ErrHandover is the cause of a context's end that hands everything over to the
// next process: the host is left as it is, and peers are not told.
var ErrHandover = control.ErrHandover

// Errors of Run, beside the context's. The service makes exit codes of them.
var (
	// ErrStateDir is wrapped when the state directory cannot be used.
	ErrStateDir = errors.New("state directory cannot be used")
	// ErrDevice is wrapped when the TUN device cannot be opened; the cause says
	// why and what to do.
	ErrDevice = errors.New("TUN device cannot be opened")
	// ErrDeviceLost ends a data plane whose interface was taken away: another is
	// made, on a new device, and what stands on the host is brought over to it.
	// It is no error of Run.
	ErrDeviceLost = errors.New("TUN device was taken away")
	// ErrEngine is wrapped when the data plane does not start.
	ErrEngine = errors.New("data plane does not start")
	// ErrHost is wrapped when the tunnel has ended, but what it put on the host
	// could not all be taken away; the cause says what.
	ErrHost = errors.New("host is not restored")
	// ErrUnknownName is wrapped when a name or address is of no known agent.
	ErrUnknownName = errors.New("no such agent")
	// ErrOffline is wrapped when an agent exists, but the control plane has not
	// announced where it is.
	ErrOffline = errors.New("agent is not online")
	// ErrNotRunning is wrapped when there is no data plane to ask.
	ErrNotRunning = errors.New("tunnel is not running")
)

// Tunnel is one tunnel. Run may be called once; everything else at any time.
type Tunnel struct {
	config Config
	log    *slog.Logger
	parts  parts // how to make the concrete parts; tests bring their own
	// addresses are where the control plane and the relays were reached.
	addresses *addressBook
	headers   *headers

	mu      sync.Mutex
	changed chan struct{} // closed and replaced at each change
	token   Token         // of the present; its one place
	facts   facts
	live    *live // nil while there is no data plane
	saved   saved
	kick    func()
	// revision and snapshots are those of Inventory.
	revision, snapshots uint64
}

// live is the running data plane with what belongs to it.
type live struct {
	engine  Engine
	answers answers
	loop    *control.Loop
	teller  *teller
	book    book                // names and addresses of agents
	leftOut map[uuid.UUID]error // agents that lack names, and why
	pings   map[uuid.UUID]pong
	// presence is what the control plane says of who is there.
	presence presence
	// saveSoon has what is kept written, and wake the sockets opened anew.
	saveSoon, wake func()
	repairs        repairs
}

// Engine is the data plane, as far as the tunnel needs it.
type Engine interface {
	control.Coordinatee
	SetRelayMap(proto.RelayMap)
	SetControlConnected(bool)
	Ping(context.Context, netip.Addr) (tailnet.PingResult, error)
	Peer(uuid.UUID) (tailnet.PeerStatus, bool)
	ActivePeers() []uuid.UUID
	// NodeWires are the last nodes of peers, in wire form.
	NodeWires([]uuid.UUID) map[uuid.UUID][]byte
	Handshake([]uuid.UUID)
	Home() (region int, latency map[int]time.Duration)
	// HomeRelay is an error while the home relay is not there; with ask it is
	// asked.
	HomeRelay(ctx context.Context, ask bool) error
	// MeasureNetwork asks the STUN servers and relays; it takes seconds.
	MeasureNetwork(ctx context.Context) tailnet.NetworkReport
	Identity() tailnet.Identity
	Rebind()
	Close() error
}

// New makes a tunnel; Run starts it.
func New(config Config) *Tunnel {
	if config.Interface == "" {
		config.Interface = DefaultInterface
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	t := &Tunnel{
		config: config, log: config.Logger, parts: realParts, addresses: newAddressBook(), headers: newHeaders(config.Profile, config.Logger),
		changed: make(chan struct{}), token: config.Profile.Token,
	}
	t.config.Profile.Token = "" // it would be the wrong one after an exchange
	return t
}

// Changed is closed at the next change of Status. Take it before Status, so
// that no change falls between the two.
func (t *Tunnel) Changed() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.changed
}

// notify tells the watchers; t.mu is held.
func (t *Tunnel) notify() {
	close(t.changed)
	t.changed = make(chan struct{})
}

// note changes a fact under the lock and tells the watchers.
func (t *Tunnel) note(change func(*facts)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	before := t.facts
	change(&t.facts)
	if !before.same(t.facts) {
		t.notify()
	}
}

// Kick makes the tunnel try at once whatever it waits with: the user asked for
// it to be up.
func (t *Tunnel) Kick() {
	t.mu.Lock()
	kick := t.kick
	t.mu.Unlock()
	if kick != nil {
		kick()
	}
}

// Query answers one packed DNS message as the tunnel's resolver does; nil
// stands for silence, or for a tunnel that is not running.
func (t *Tunnel) Query(message []byte) []byte {
	t.mu.Lock()
	running := t.live
	t.mu.Unlock()
	if running == nil {
		return nil
	}
	return running.answers.query(message)
}

// PingReply is the answer to a ping.
type PingReply struct {
	Name     string // the agent's shortest name
	Addr     netip.Addr
	Latency  time.Duration
	Direct   bool
	Endpoint netip.AddrPort // of a direct path
	Relay    *Relay         // of a relayed one
}

// Ping measures the way to one agent, named by any of its names with or
// without the suffix, by agent.workspace, or by an address.
func (t *Tunnel) Ping(ctx context.Context, name string) (PingReply, error) {
	t.mu.Lock()
	running := t.live
	if running == nil {
		t.mu.Unlock()
		return PingReply{}, fmt.Errorf("ping %s: %w", name, ErrNotRunning)
	}
	found, err := running.book.resolve(name)
	t.mu.Unlock()
	if err != nil {
		return PingReply{}, fmt.Errorf("ping %s: %w", name, err)
	}
	if err := running.await(ctx, found.agent); err != nil {
		return PingReply{}, fmt.Errorf("ping %s: %w", name, err)
	}
	return t.pingTarget(ctx, running, found)
}

const (
	// announceLimit is how long a ping waits for an agent to be announced: the
	// data plane waits up to 5 s for the other side to be ready.
	announceLimit = 6 * time.Second
	announcePoll  = 50 * time.Millisecond
)

// await waits until the data plane knows where an agent is, as right after the
// start it may not yet.
func (l *live) await(ctx context.Context, id uuid.UUID) error {
	limit, cancel := context.WithTimeout(ctx, announceLimit)
	defer cancel()
	for {
		if _, known := l.engine.Peer(id); known {
			return nil
		}
		if !pause(limit, announcePoll) {
			return ErrOffline
		}
	}
}

// state is the workspaces as they are known; t.mu is held.
func (t *Tunnel) state() *workspace.State {
	if t.saved.Workspaces == nil {
		return &workspace.State{}
	}
	return t.saved.Workspaces
}
