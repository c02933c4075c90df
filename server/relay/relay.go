package relay

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/coder/websocket"
	"tailscale.com/derp"
	"tailscale.com/derp/derpserver"
	"tailscale.com/net/wsconn"
	"tailscale.com/types/key"
)

// writeBuffer is how many bytes the relay collects for a peer before it writes,
// if there is more to send: the most that fits one TLS record. Upstream's
// default is a quarter of that. It is only held while something is being sent.
const writeBuffer = 16 << 10

// Config is what a relay is made of.
type Config struct {
	Logger *slog.Logger
	// Key identifies the relay to its clients. It is kept, so that clients do
	// not see another relay after a restart.
	Key key.NodePrivate
	// Policy says who may talk to whom; nil lets everybody.
	Policy Policy
}

// Relay is an http.Handler for /derp and /derp/latency-check. Close ends it and
// waits for its connections.
type Relay struct {
	logger *slog.Logger
	policy Policy
	derp   *derpserver.Server

	mu      sync.Mutex
	closing bool
	conns   map[net.Conn]struct{}
	serving sync.WaitGroup
	forced  atomic.Bool // connections end without a farewell
}

// New starts a relay.
func New(config Config) *Relay {
	logger := config.Logger
	logf := func(format string, args ...any) {
		if logger.Enabled(context.Background(), slog.LevelDebug) {
			logger.Debug("relay", slog.String("event", fmt.Sprintf(format, args...)))
		}
	}
	return &Relay{
		logger: logger, policy: config.Policy,
		derp:  derpserver.New(config.Key, logf),
		conns: map[net.Conn]struct{}{},
	}
}

// PublicKey is the relay's public key.
func (r *Relay) PublicKey() key.NodePublic { return r.derp.PublicKey() }

// Connections is the number of connections that are being served.
func (r *Relay) Connections() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.conns)
}

// ServeHTTP serves the relay. A request is a websocket only if it asks for one
// with the subprotocol derp; everything else must be the raw upgrade.
func (r *Relay) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	switch {
	case strings.HasSuffix(req.URL.Path, "/latency-check") || strings.HasSuffix(req.URL.Path, "/probe"):
		w.Header().Set("Access-Control-Allow-Origin", "*")
		w.WriteHeader(http.StatusOK)
	case r.isClosing():
		http.Error(w, "relay is shutting down", http.StatusServiceUnavailable)
	case wantsWebsocket(req):
		r.serveWebsocket(w, req)
	default:
		r.serveRaw(w, req)
	}
}

func (r *Relay) isClosing() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closing
}

func wantsWebsocket(req *http.Request) bool {
	if !strings.EqualFold(req.Header.Get("Upgrade"), "websocket") {
		return false
	}
	for _, line := range req.Header.Values("Sec-Websocket-Protocol") {
		for offered := range strings.SplitSeq(line, ",") {
			if strings.TrimSpace(offered) == "derp" {
				return true
			}
		}
	}
	return false
}

func (r *Relay) serveWebsocket(w http.ResponseWriter, req *http.Request) {
	conn, err := websocket.Accept(w, req, &websocket.AcceptOptions{
		Subprotocols:   []string{"derp"},
		OriginPatterns: []string{"*"}, // a browser's DERP client comes from anywhere, and carries no cookies that count here
		// WireGuard's packets do not compress.
		CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		r.logger.Debug("accept relay websocket", slog.Any("error", err)) // it has answered the request
		return
	}
	if conn.Subprotocol() != "derp" {
		conn.Close(websocket.StatusPolicyViolation, "client must speak the derp subprotocol")
		return
	}
	// The stream is read piece by piece, so a message may be of any size.
	conn.SetReadLimit(-1)
	stream := wsconn.NetConn(req.Context(), conn, websocket.MessageBinary, req.RemoteAddr)
	r.serve(req.Context(), websocketConn{Conn: stream, socket: conn, relay: r}, nil, req.RemoteAddr)
}

// websocketConn closes as the protocol has it, which waits for the other side;
// or at once when the relay is being closed by force, where connections are
// closed one after another.
type websocketConn struct {
	net.Conn
	socket *websocket.Conn
	relay  *Relay
}

func (c websocketConn) Close() error {
	if c.relay.forced.Load() {
		return c.socket.CloseNow()
	}
	return c.socket.Close(websocket.StatusInternalError, "closing")
}

func (r *Relay) serveRaw(w http.ResponseWriter, req *http.Request) {
	upgrade := strings.ToLower(req.Header.Get("Upgrade"))
	hijacker, able := w.(http.Hijacker)
	// Clients from the first days said websocket and meant DERP.
	if (upgrade != "derp" && upgrade != "websocket") || !able {
		w.Header().Set("Upgrade", "DERP")
		w.Header().Set("Connection", "Upgrade")
		http.Error(w, "DERP requires connection upgrade", http.StatusUpgradeRequired)
		return
	}
	conn, buffered, err := hijacker.Hijack()
	if err != nil {
		http.Error(w, "connection cannot be upgraded", http.StatusInternalServerError)
		return
	}
	if req.Header.Get(derp.FastStartHeader) != "1" {
		fmt.Fprintf(buffered, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\nConnection: Upgrade\r\n"+
			"Derp-Version: %d\r\nDerp-Public-Key: %s\r\n\r\n", derp.ProtocolVersion, r.derp.PublicKey().UntypedHexString())
		if err := buffered.Flush(); err != nil {
			conn.Close()
			return
		}
	}
	var early []byte
	if n := buffered.Reader.Buffered(); n > 0 {
		early, _ = buffered.Peek(n) // what is buffered can be peeked
	}
	r.serve(req.Context(), conn, early, conn.RemoteAddr().String())
}

// serve relays for one connection until it ends, and closes it. early is what
// was read from it before.
func (r *Relay) serve(ctx context.Context, conn net.Conn, early []byte, remote string) {
	r.mu.Lock()
	if r.closing {
		r.mu.Unlock()
		conn.Close()
		return
	}
	r.conns[conn] = struct{}{}
	r.serving.Add(1)
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		delete(r.conns, conn)
		r.mu.Unlock()
		r.serving.Done()
	}()

	entry := newGate(conn, early, r.policy)
	if r.policy != nil {
		stop := entry.watch(func() {
			r.logger.Debug("cut relay connection of a key that nobody announces", slog.String("remote", remote))
			conn.Close()
		})
		defer stop()
	}
	// The gate gives whole frames where it can, so a small buffer behind it is enough.
	stream := bufio.NewReadWriter(bufio.NewReaderSize(entry, 1<<10), bufio.NewWriterSize(conn, writeBuffer))
	r.derp.Accept(ctx, conn, stream, remote)
}

// Close takes no new connections, waits for the old ones to end until ctx ends,
// and then closes what is left.
func (r *Relay) Close(ctx context.Context) error {
	r.mu.Lock()
	r.closing = true
	r.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		r.serving.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
	}
	r.forced.Store(true)
	err := r.derp.Close()
	r.mu.Lock()
	for conn := range r.conns {
		conn.Close()
	}
	r.mu.Unlock()
	<-ended
	if err != nil {
		return fmt.Errorf("close relay: %w", err)
	}
	return nil
}
