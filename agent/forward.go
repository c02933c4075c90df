package agent

import (
	"context"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causewayhq/causeway/agent/httpapi"
)

// firstForwarded is the first port that is passed on; those below are for
// services of the agent itself (docs of the protocol, 5.1).
const firstForwarded = 9

// dialLimit bounds the wait for a program on localhost to accept.
const dialLimit = 10 * time.Second

const (
	// maxConnections bounds the forwarded TCP connections that are open at once;
	// one more is refused. Each holds a socket, two goroutines and, while one end
	// does not read, what the buffers of netstack and the system take: some MB. An
	// end that has gone without a word is missed after two hours by netstack's
	// keepalive, or after 15 minutes (measured) in which data was sent in vain.
	maxConnections = 2048
	// maxFlows bounds the UDP flows that are open at once: each holds a socket and
	// two goroutines, and sending from another port is all that it takes to open one.
	maxFlows = 2048
)

// loopback is where forwarded ports lead: the second address is tried when
// nobody listens on the first.
var loopback = []string{"127.0.0.1", "::1"}

// forwarder passes ports of the tailnet on to localhost. It owns the
// goroutines of its connections from the moment they are handed over.
type forwarder struct {
	ctx   context.Context
	stop  context.CancelFunc
	conns chan struct{} // a place for each TCP connection
	flows chan struct{}
	// refused and served count TCP connections.
	refused, served atomic.Uint64

	mu     sync.Mutex
	closed bool
	work   sync.WaitGroup
}

func newForwarder() *forwarder {
	ctx, stop := context.WithCancel(context.Background())
	return &forwarder{ctx: ctx, stop: stop, conns: make(chan struct{}, maxConnections), flows: make(chan struct{}, maxFlows)}
}

// close ends every connection and waits for it.
func (f *forwarder) close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.stop()
	f.work.Wait()
}

// own runs serve, unless the forwarder is closed, and returns when it has.
func (f *forwarder) own(conn net.Conn, serve func()) {
	defer conn.Close()
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return
	}
	f.work.Add(1)
	f.mu.Unlock()
	defer f.work.Done()
	serve()
}

func (f *forwarder) tcp(port uint16) (func(net.Conn), bool) {
	if port < firstForwarded {
		return nil, false
	}
	if len(f.conns) == cap(f.conns) {
		f.refused.Add(1)
		return nil, false
	}
	return func(conn net.Conn) {
		f.own(conn, func() {
			select {
			case f.conns <- struct{}{}:
				defer func() { <-f.conns }()
			default:
				f.refused.Add(1)
				return // several came for the last place
			}
			f.served.Add(1)
			f.serveTCP(conn, port)
		})
	}, true
}

// metrics are for /debug/prometheus.
func (f *forwarder) metrics() []httpapi.Metric {
	return []httpapi.Metric{
		{Name: "forwarded_connections", Kind: "gauge", Help: "TCP connections to localhost that are open.", Value: float64(len(f.conns))},
		{Name: "forwarded_connections_total", Kind: "counter", Help: "TCP connections that were forwarded to localhost.", Value: float64(f.served.Load())},
		{Name: "refused_connections_total", Kind: "counter", Help: "TCP connections beyond the limit.", Value: float64(f.refused.Load())},
		{Name: "forwarded_flows", Kind: "gauge", Help: "UDP flows to localhost that are open.", Value: float64(len(f.flows))},
	}
}

func (f *forwarder) serveTCP(conn net.Conn, port uint16) {
	target, err := f.dial("tcp", port)
	if err != nil {
		return // the far side sees its connection closed
	}
	defer target.Close()
	stop := context.AfterFunc(f.ctx, func() {
		conn.Close()
		target.Close()
	})
	defer stop()
	var inward sync.WaitGroup
	inward.Go(func() { copyHalf(target, conn) })
	copyHalf(conn, target)
	inward.Wait()
}

func (f *forwarder) dial(network string, port uint16) (net.Conn, error) {
	dialer := net.Dialer{Timeout: dialLimit}
	var err error
	for _, host := range loopback {
		var conn net.Conn
		if conn, err = dialer.DialContext(f.ctx, network, address(host, port)); err == nil {
			return conn, nil
		}
	}
	return nil, err
}

func address(host string, port uint16) string {
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}

// copyHalf copies one direction and passes on its end. A failure ends both
// directions: what the other one still carries has nobody to take it.
func copyHalf(to, from net.Conn) {
	_, err := io.Copy(to, from)
	if half, ok := to.(interface{ CloseWrite() error }); ok && err == nil {
		_ = half.CloseWrite() // an error means that the far side is gone
		return
	}
	to.Close()
	from.Close()
}

func (f *forwarder) udp(port uint16) (func(net.Conn), bool) {
	if port < firstForwarded {
		return nil, false
	}
	return func(conn net.Conn) {
		f.own(conn, func() {
			select {
			case f.flows <- struct{}{}:
				defer func() { <-f.flows }()
			default:
				return // the packet is lost, as on a full queue
			}
			var dials []func() (net.Conn, error)
			for _, host := range loopback {
				dials = append(dials, func() (net.Conn, error) { return net.Dial("udp", address(host, port)) })
			}
			newFlow(conn, dials).run(f.ctx)
		})
	}, true
}
