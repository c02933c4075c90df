package tailnetclient

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"tailscale.com/tailcfg"

	"github.com/causewayhq/causeway/proto"
)

// ownRelay stands for the relay of this process in our copy of the map. Nothing
// listens there: connections to it never leave the process, so that neither
// certificates, proxies nor the access URL's name matter.
const (
	ownRelayHost = "127.0.0.1"
	ownRelayPort = 1 // tcpmux, which nobody runs
	ownRelay     = "127.0.0.1:1"
)

// ownRelays leads the embedded regions to the relay of this process. STUN stays
// where it was: asked at the loopback address it would answer with that.
func ownRelays(relays proto.RelayMap) proto.RelayMap {
	if relays.DERPMap == nil {
		return relays
	}
	result := proto.RelayMap{DERPMap: relays.Clone(), Embedded: relays.Embedded, PlainHTTP: map[string]bool{}}
	for name, plain := range relays.PlainHTTP {
		result.PlainHTTP[name] = plain
	}
	for id, region := range result.Regions {
		if !relays.Embedded[id] {
			continue
		}
		var nodes []*tailcfg.DERPNode
		for _, node := range region.Nodes {
			if !node.STUNOnly {
				if node.STUNPort >= 0 {
					stun := node.Clone()
					stun.Name, stun.STUNOnly = node.Name+"stun", true
					nodes = append(nodes, stun)
				}
				node.HostName, node.DERPPort, node.STUNPort = ownRelayHost, ownRelayPort, -1
				node.IPv4, node.IPv6, node.CertName = "", "", ""
				result.PlainHTTP[node.Name] = true
			}
			nodes = append(nodes, node)
		}
		region.Nodes = nodes
	}
	return result
}

// inside is a listener of connections that are made in this process.
type inside struct {
	conns chan net.Conn
	gone  chan struct{}
	once  sync.Once
}

func newInside() *inside { return &inside{conns: make(chan net.Conn), gone: make(chan struct{})} }

func (l *inside) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.gone:
		return nil, net.ErrClosed
	}
}

func (l *inside) Close() error {
	l.once.Do(func() { close(l.gone) })
	return nil
}

func (l *inside) Addr() net.Addr { return insideAddr{} }

type insideAddr struct{}

func (insideAddr) Network() string { return "pipe" }
func (insideAddr) String() string  { return ownRelay }

// dial is for the bridge to relays: ours inside, the others as ever.
func (l *inside) dial(ctx context.Context, network, address string, secure func(context.Context, net.Conn) (net.Conn, error)) (net.Conn, error) {
	if address == ownRelay {
		return l.connect(ctx)
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, network, address)
	if err != nil || secure == nil {
		return conn, err
	}
	return secure(ctx, conn)
}

func (l *inside) connect(ctx context.Context) (net.Conn, error) {
	near, far := net.Pipe()
	var err error
	select {
	case l.conns <- far:
		return near, nil
	case <-l.gone:
		err = net.ErrClosed
	case <-ctx.Done():
		err = ctx.Err()
	}
	return nil, errors.Join(err, near.Close(), far.Close())
}

// relayHeaderLimit is for a relay request that comes from this process.
const relayHeaderLimit = 10 * time.Second

// serverOf serves the relay, or nothing where there is none.
func serverOf(relay http.Handler) *http.Server {
	if relay == nil {
		relay = http.NotFoundHandler()
	}
	return &http.Server{Handler: relay, ReadHeaderTimeout: relayHeaderLimit}
}
