package relaybridge

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"tailscale.com/tailcfg"

	"github.com/causewayhq/causeway/proto"
)

// Dial says how relays are reached.
type Dial struct {
	// Headers are sent with every request to a relay; nil for none. It is asked
	// each time and must not block.
	Headers func() http.Header
	// TLS is for the connections to relays by https, nil for the defaults.
	TLS *tls.Config
	// Proxy chooses an HTTP proxy for a request, nil for the environment's.
	Proxy func(*http.Request) (*url.URL, error)
	// Connect dials a host and port and makes the connection secure, unless
	// secure is nil. It may try several addresses of the host; secure closes
	// those that it refuses. Nil for the system's resolver and nothing more.
	Connect func(ctx context.Context, network, address string, secure func(context.Context, net.Conn) (net.Conn, error)) (net.Conn, error)
	// Names are for the hosts that upstream finds by itself: STUN servers, and
	// relays that are not bridged. Nil leaves all of that to upstream.
	Names Names
}

// Names knows the addresses of hosts.
type Names interface {
	// Known are the addresses from before. It must not block.
	Known(host string) []netip.Addr
	// Resolve asks the resolver, for a limited time, and remembers the answer.
	// It is empty when there is none.
	Resolve(ctx context.Context, host string) []netip.Addr
}

// Config describes a bridge. Logger is required.
type Config struct {
	Logger *slog.Logger
	Dial
	// ForceWebsocket skips the raw upgrade.
	ForceWebsocket bool
	// Forced is told when a region begins to be reached by websocket, and why;
	// reason "" ends that. It must not block. Nil for nobody.
	Forced func(region int, reason string)
	// Carried is told when a connection to a relay began to stand or ended. It
	// must not block. Nil for nobody.
	Carried func()
	// Changed is told when Rewrite would give another result than before. It is
	// called in a goroutine of its own. Nil for nobody.
	Changed func()
}

// forcedReason is published for regions that nobody tried by the raw upgrade.
const forcedReason = "websockets are forced by configuration"

// Bridge carries relay connections. Close ends them.
type Bridge struct {
	config   Config
	listener net.Listener
	proxyURL *url.URL
	// user and secret are what a client must show.
	secret   string
	tls      *tls.Config
	certHash string
	// domain is the made-up domain of this bridge's relays.
	domain string

	ctx     context.Context
	stop    context.CancelFunc
	running sync.WaitGroup

	mu     sync.Mutex
	closed bool
	// strangers are the connections that have not shown the secret yet, the
	// oldest first.
	strangers []net.Conn
	// targets are the relays by made-up host name.
	targets map[string]target
	// carried counts the connections that stand, by region.
	carried map[int]int
	// bridged are the regions of the current map that we carry.
	bridged map[int]bool
	// regions are the relays of the current map, by region.
	regions map[int][]target
	// refused holds why a node answered a raw upgrade with a 4xx, by target
	// without the made-up name.
	refused map[nodeKey]string
	// reasons is what Forced was told, by region.
	reasons map[int]string
	// probed are the nodes that were tried in the background.
	probed map[nodeKey]bool
	// given are the addresses that upstream gets for hosts of the current map
	// that have none there; empty: it asks the resolver itself.
	given map[string][]netip.Addr
	// named holds one token while hosts are new.
	named chan struct{}
}

// target is one real relay.
type target struct {
	region int
	nodeKey
	insecure bool
	certName string
	ipv4     string
	ipv6     string
}

// nodeKey is where a relay is.
type nodeKey struct {
	host  string
	port  int
	plain bool
}

// address is the host and port to connect to.
func (k nodeKey) address() string { return net.JoinHostPort(k.host, strconv.Itoa(k.port)) }

// New starts a bridge.
func New(config Config) (*Bridge, error) {
	installHooks()
	if config.Logger == nil {
		return nil, errors.New("start relay bridge: no logger")
	}
	listener, err := listenLoopback()
	if err != nil {
		return nil, fmt.Errorf("start relay bridge: %w", err)
	}
	b := &Bridge{
		config: config, listener: listener, targets: map[string]target{}, carried: map[int]int{},
		refused: map[nodeKey]string{}, reasons: map[int]string{}, probed: map[nodeKey]bool{}, named: make(chan struct{}, 1),
	}
	b.domain = strings.ToLower(rand.Text()[:16]) + ".relay.invalid"
	b.secret = "Basic " + base64.StdEncoding.EncodeToString([]byte("causeway:"+rand.Text()))
	b.proxyURL = &url.URL{Scheme: "http", Host: listener.Addr().String()}
	certificate, err := selfSigned("*." + b.domain)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start relay bridge: %w", err), listener.Close())
	}
	sum := sha256.Sum256(certificate.Certificate[0])
	b.certHash = hex.EncodeToString(sum[:])
	b.tls = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}}
	b.ctx, b.stop = context.WithCancel(context.Background())
	bridges.add(b)
	b.running.Go(b.accept)
	if config.Names != nil {
		b.running.Go(b.checkNames)
	}
	return b, nil
}

// listenLoopback prefers IPv4 and takes IPv6 where a host has no other.
func listenLoopback() (net.Listener, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err == nil {
		return listener, nil
	}
	second, otherErr := net.Listen("tcp", "[::1]:0")
	if otherErr == nil {
		return second, nil
	}
	return nil, fmt.Errorf("listen on loopback: %w", errors.Join(err, otherErr))
}

// Close ends all connections and waits for them.
func (b *Bridge) Close() error {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return nil
	}
	b.closed = true
	b.mu.Unlock()
	bridges.remove(b)
	b.stop()
	err := b.listener.Close()
	b.running.Wait()
	return err
}

// Rewrite is the relay map that upstream gets. The map given is not changed.
func (b *Bridge) Rewrite(relays proto.RelayMap) *tailcfg.DERPMap {
	rewritten := relays.Clone()
	b.mu.Lock()
	defer b.mu.Unlock()
	// Names of relays of the former map stay known: upstream may be dialling.
	b.regions, b.bridged = map[int][]target{}, map[int]bool{}
	former := b.given
	b.given = map[string][]netip.Addr{}
	for id, region := range rewritten.Regions {
		var front, behind []*tailcfg.DERPNode
		bridged := false
		for index, node := range region.Nodes {
			node.RegionID = id
			goal := newTarget(id, node, relays.PlainHTTP[node.Name])
			if !node.STUNOnly {
				b.regions[id] = append(b.regions[id], goal)
			}
			if node.STUNOnly || !b.needs(goal, relays.Embedded[id]) {
				b.nameLocked(node, former)
				front = append(front, node)
				b.probeLocked(node, goal)
				continue
			}
			bridged = true
			// Probes by STUN go round all nodes of a region in order: the real
			// ones come first.
			if node.STUNPort >= 0 {
				server := stunNode(node)
				b.nameLocked(server, former)
				front = append(front, server)
			}
			behind = append(behind, b.bridgedNode(id, index, node, goal))
		}
		region.Nodes = append(front, behind...)
		b.bridged[id] = bridged
		if bridged && b.config.ForceWebsocket {
			b.noteForcedLocked(id, forcedReason)
		}
	}
	for id := range b.reasons {
		if rewritten.Regions[id] == nil {
			b.noteForcedLocked(id, "")
		}
	}
	return rewritten
}

func newTarget(region int, node *tailcfg.DERPNode, plain bool) target {
	port := node.DERPPort
	if port == 0 {
		port = 443
		if plain {
			port = 80
		}
	}
	return target{
		region: region, nodeKey: nodeKey{host: node.HostName, port: port, plain: plain},
		insecure: node.InsecureForTests, certName: node.CertName, ipv4: node.IPv4, ipv6: node.IPv6,
	}
}

// needs says whether a relay goes through the bridge. The caller holds mu.
func (b *Bridge) needs(goal target, embedded bool) bool {
	return embedded || goal.plain || b.config.ForceWebsocket || b.config.Headers != nil || b.config.TLS != nil || b.config.Connect != nil ||
		b.refused[goal.nodeKey] != ""
}

// stunNode is the part of a node that upstream may go on using itself.
func stunNode(node *tailcfg.DERPNode) *tailcfg.DERPNode {
	kept := *node
	kept.STUNOnly, kept.CanPort80 = true, false
	return &kept
}

// bridgedNode is the part of a node that goes through the bridge, under a name
// that only this bridge has. The caller holds mu.
func (b *Bridge) bridgedNode(region, index int, node *tailcfg.DERPNode, goal target) *tailcfg.DERPNode {
	host := fmt.Sprintf("r%d-n%d.%s", region, index, b.domain)
	b.targets[host] = goal
	return &tailcfg.DERPNode{
		Name: node.Name + "-bridged", RegionID: region, HostName: host, CertName: "sha256-raw:" + b.certHash,
		// No probes by STUN or ICMP, and no look-up of the made-up name.
		STUNPort: -1, IPv4: "none", IPv6: "none",
	}
}

// noteForcedLocked tells about a region if that is news. The caller holds mu.
func (b *Bridge) noteForcedLocked(region int, reason string) {
	if b.reasons[region] == reason {
		return
	}
	if reason == "" {
		delete(b.reasons, region)
	} else {
		b.reasons[region] = reason
	}
	if b.config.Forced != nil {
		b.config.Forced(region, reason)
	}
}

// noteRefused remembers that a relay does not take the raw upgrade.
func (b *Bridge) noteRefused(goal target, reason string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refused[goal.nodeKey] = reason
	b.noteForcedLocked(goal.region, reason)
	b.config.Logger.LogAttrs(b.ctx, slog.LevelInfo, "relay is reached by websocket",
		slog.Int("region", goal.region), slog.String("relay", goal.address()), slog.String("reason", reason))
}

// websocketOnly says whether to skip the raw upgrade.
func (b *Bridge) websocketOnly(goal target) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.config.ForceWebsocket || b.refused[goal.nodeKey] != ""
}

func (b *Bridge) target(host string) (target, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	goal, found := b.targets[host]
	return goal, found
}

// allows compares a client's proof with the secret.
func (b *Bridge) allows(shown string) bool {
	return subtle.ConstantTimeCompare([]byte(shown), []byte(b.secret)) == 1
}

// probeTimeout bounds one try of a relay in the background.
const probeTimeout = 15 * time.Second
