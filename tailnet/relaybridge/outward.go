package relaybridge

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/coder/websocket"
	"tailscale.com/net/tlsdial"
	"tailscale.com/net/wsconn"
	"tailscale.com/tailcfg"
)

// scheme is that of the relay's URL.
func (k nodeKey) scheme() string {
	if k.plain {
		return "http"
	}
	return "https"
}

// url is one of a relay's pages. Standard ports are left out, since some
// proxies compare the Host header literally.
func (k nodeKey) url(path string) *url.URL {
	host := k.host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if k.plain && k.port != 80 || !k.plain && k.port != 443 {
		host = k.address()
	}
	return &url.URL{Scheme: k.scheme(), Host: host, Path: path}
}

// dial connects to a relay: TCP, through a proxy if there is one, then TLS.
func (b *Bridge) dial(ctx context.Context, goal target) (net.Conn, error) {
	choose := b.config.Proxy
	if choose == nil {
		choose = http.ProxyFromEnvironment
	}
	proxy, err := choose(&http.Request{Method: http.MethodGet, URL: goal.url("/derp"), Header: http.Header{}})
	if err != nil {
		return nil, fmt.Errorf("choose proxy for relay %s: %w", goal.address(), err)
	}
	var conn net.Conn
	if proxy == nil {
		conn, err = b.dialDirect(ctx, goal)
	} else if conn, err = b.dialProxy(ctx, proxy, goal.address()); err == nil {
		conn, err = b.secure(goal)(ctx, conn)
	}
	if err != nil {
		return nil, fmt.Errorf("connect to relay %s: %w", goal.address(), err)
	}
	return conn, nil
}

// connect dials one address or name, and makes the connection secure unless
// secure is nil.
func (b *Bridge) connect(ctx context.Context, network, address string, secure secureFunc) (net.Conn, error) {
	if b.config.Connect != nil {
		return b.config.Connect(ctx, network, address, secure)
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, network, address)
	if err != nil || secure == nil {
		return conn, err
	}
	return secure(ctx, conn)
}

type secureFunc = func(context.Context, net.Conn) (net.Conn, error)

// secure is the TLS handshake with a relay. For plain HTTP there is none.
func (b *Bridge) secure(goal target) secureFunc {
	return func(ctx context.Context, conn net.Conn) (net.Conn, error) {
		if goal.plain {
			return conn, nil
		}
		secured := tls.Client(conn, b.clientTLS(goal))
		if err := secured.HandshakeContext(ctx); err != nil {
			conn.Close()
			return nil, fmt.Errorf("secure connection: %w", err)
		}
		return secured, nil
	}
}

// dialDirect uses the addresses of the map if there are any, and then the name.
func (b *Bridge) dialDirect(ctx context.Context, goal target) (net.Conn, error) {
	var secure secureFunc
	if !goal.plain {
		secure = b.secure(goal)
	}
	var problems []error
	for _, given := range []string{goal.ipv4, goal.ipv6} {
		if given == "" || given == "none" {
			continue
		}
		conn, err := b.connect(ctx, "tcp", nodeKey{host: given, port: goal.port}.address(), secure)
		if err == nil {
			return conn, nil
		}
		problems = append(problems, err)
	}
	network := "tcp"
	switch {
	case goal.ipv4 == "none" && goal.ipv6 == "none":
		return nil, errors.New("the relay map allows neither IPv4 nor IPv6")
	case goal.ipv4 == "none":
		network = "tcp6"
	case goal.ipv6 == "none":
		network = "tcp4"
	}
	conn, err := b.connect(ctx, network, goal.address(), secure)
	if err != nil {
		return nil, errors.Join(append(problems, err)...)
	}
	return conn, nil
}

// clientTLS follows the map's notes on the relay's certificate, as upstream does.
func (b *Bridge) clientTLS(goal target) *tls.Config {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if b.config.TLS != nil {
		config = b.config.TLS.Clone()
	}
	// The upgrade exists in HTTP/1.1 only.
	config.NextProtos = []string{"http/1.1"}
	config.ServerName = goal.host
	if hash, pinned := strings.CutPrefix(goal.certName, "sha256-raw:"); pinned {
		tlsdial.SetConfigExpectedCertHash(config, hash)
	} else if goal.certName != "" {
		tlsdial.SetConfigExpectedCert(config, goal.certName)
	}
	if goal.insecure {
		config.InsecureSkipVerify = true
		config.VerifyConnection = nil
	}
	return config
}

// dialProxy asks an HTTP proxy for a connection.
func (b *Bridge) dialProxy(ctx context.Context, proxy *url.URL, address string) (net.Conn, error) {
	port := proxy.Port()
	if port == "" {
		port = map[string]string{"https": "443"}[proxy.Scheme]
	}
	if port == "" {
		port = "80"
	}
	if proxy.Scheme != "http" && proxy.Scheme != "https" {
		return nil, fmt.Errorf("proxy %s: scheme %q is not supported", proxy.Redacted(), proxy.Scheme)
	}
	conn, err := b.connect(ctx, "tcp", net.JoinHostPort(proxy.Hostname(), port), nil)
	if err != nil {
		return nil, fmt.Errorf("connect to proxy %s: %w", proxy.Redacted(), err)
	}
	plain := conn
	defer context.AfterFunc(ctx, func() { plain.Close() })()
	if proxy.Scheme == "https" {
		conn = tls.Client(conn, &tls.Config{MinVersion: tls.VersionTLS12, ServerName: proxy.Hostname()})
	}
	proof := ""
	if auth := basicAuth(proxy); auth != "" {
		proof = "Proxy-Authorization: " + auth + "\r\n"
	}
	if _, err := fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", address, address, proof); err != nil {
		conn.Close()
		return nil, fmt.Errorf("ask proxy %s: %w", proxy.Redacted(), err)
	}
	reader := bufio.NewReader(conn)
	response, err := http.ReadResponse(reader, &http.Request{Method: http.MethodConnect})
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("read answer of proxy %s: %w", proxy.Redacted(), err)
	}
	if response.StatusCode != http.StatusOK {
		conn.Close()
		return nil, fmt.Errorf("ask proxy %s: it answered %s", proxy.Redacted(), response.Status)
	}
	return bufferedConn{Conn: conn, reader: reader}, nil
}

func basicAuth(proxy *url.URL) string {
	if proxy.User == nil {
		return ""
	}
	password, _ := proxy.User.Password()
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(proxy.User.Username()+":"+password))
}

// header is what goes with every request to a relay.
func (b *Bridge) header() http.Header {
	header := http.Header{}
	if b.config.Headers != nil {
		header = b.config.Headers().Clone()
	}
	if header == nil {
		header = http.Header{}
	}
	return header
}

// request makes one for a relay with our headers.
func (b *Bridge) request(ctx context.Context, goal target, method, path string) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, method, goal.url(path).String(), nil)
	if err != nil {
		return nil, fmt.Errorf("make request for relay %s: %w", goal.address(), err)
	}
	request.Header = b.header()
	if host := request.Header.Get("Host"); host != "" {
		request.Host = host
	}
	return request, nil
}

// statusError is a refusal of the raw upgrade.
type statusError struct{ code int }

func (e statusError) Error() string {
	return fmt.Sprintf("relay answered the upgrade with %d %s", e.code, http.StatusText(e.code))
}

// retryable says whether a websocket may work where the upgrade did not.
func (e statusError) retryable() bool { return e.code >= 400 && e.code < 500 }

// rawUpgrade asks for the relay's own protocol.
func (b *Bridge) rawUpgrade(ctx context.Context, goal target, relay net.Conn) (net.Conn, error) {
	request, err := b.request(ctx, goal, http.MethodGet, "/derp")
	if err != nil {
		return nil, err
	}
	request.Header.Set("Upgrade", "DERP")
	request.Header.Set("Connection", "Upgrade")
	defer context.AfterFunc(ctx, func() { relay.Close() })()
	if err := request.Write(relay); err != nil {
		return nil, fmt.Errorf("ask relay %s for upgrade: %w", goal.address(), err)
	}
	reader := bufio.NewReader(relay)
	response, err := http.ReadResponse(reader, request)
	if err != nil {
		return nil, fmt.Errorf("read answer of relay %s: %w", goal.address(), err)
	}
	if response.StatusCode != http.StatusSwitchingProtocols {
		return nil, statusError{response.StatusCode}
	}
	return bufferedConn{Conn: relay, reader: reader}, nil
}

// websocketUpgrade speaks to the relay through a websocket. The connection is
// used if it is not nil, else a new one is made. The websocket lives until it
// is closed or life ends.
func (b *Bridge) websocketUpgrade(ctx, life context.Context, goal target, relay net.Conn) (net.Conn, error) {
	var used bool
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		if relay != nil && !used {
			used = true
			return relay, nil
		}
		return b.dial(ctx, goal)
	}
	transport := &http.Transport{DialContext: dial, DialTLSContext: dial, DisableKeepAlives: true}
	header := b.header()
	conn, _, err := websocket.Dial(ctx, goal.url("/derp").String(), &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: transport}, HTTPHeader: header, Host: header.Get("Host"),
		Subprotocols: []string{"derp"}, CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		return nil, fmt.Errorf("open websocket to relay %s: %w", goal.address(), err)
	}
	if conn.Subprotocol() != "derp" {
		_ = conn.Close(websocket.StatusPolicyViolation, "want subprotocol derp")
		return nil, fmt.Errorf("open websocket to relay %s: it does not speak derp", goal.address())
	}
	return wsconn.NetConn(life, conn, websocket.MessageBinary, goal.address()), nil
}

// upgrade connects upstream's client with the relay's own protocol, by the raw
// upgrade or, where that is refused, by websocket.
func (b *Bridge) upgrade(ctx context.Context, goal target, relay, client net.Conn) error {
	onward, err := b.onward(ctx, goal, relay)
	if err != nil {
		answer(client, http.StatusBadGateway)
		return err
	}
	if _, err := io.WriteString(client, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\nConnection: Upgrade\r\n\r\n"); err != nil {
		onward.Close()
		return fmt.Errorf("answer relay client: %w", err)
	}
	b.count(goal.region, 1)
	defer b.count(goal.region, -1)
	return splice(client, onward)
}

func (b *Bridge) onward(ctx context.Context, goal target, relay net.Conn) (net.Conn, error) {
	if b.websocketOnly(goal) {
		return b.websocketUpgrade(ctx, b.ctx, goal, relay)
	}
	conn, err := b.rawUpgrade(ctx, goal, relay)
	var refused statusError
	if !errors.As(err, &refused) || !refused.retryable() {
		return conn, err
	}
	// The answer had a body, perhaps: the connection is not used again.
	relay.Close()
	conn, err = b.websocketUpgrade(ctx, b.ctx, goal, nil)
	if err != nil {
		return nil, errors.Join(refused, err)
	}
	b.noteRefused(goal, refused.Error())
	return conn, nil
}

// check passes on upstream's measurement of latency and nothing else.
func (b *Bridge) check(ctx context.Context, goal target, relay net.Conn, asked *http.Request, client net.Conn) error {
	if asked.Method != http.MethodGet || asked.URL.Path != "/derp/latency-check" && asked.URL.Path != "/derp/probe" {
		answer(client, http.StatusNotFound)
		return errors.New("refuse relay client: unknown request")
	}
	request, err := b.request(ctx, goal, http.MethodGet, asked.URL.Path)
	if err != nil {
		return err
	}
	request.Close = true
	defer context.AfterFunc(ctx, func() { relay.Close() })()
	if err := request.Write(relay); err != nil {
		return fmt.Errorf("ask relay %s: %w", goal.address(), err)
	}
	response, err := http.ReadResponse(bufio.NewReader(relay), request)
	if err != nil {
		return fmt.Errorf("read answer of relay %s: %w", goal.address(), err)
	}
	// Upstream looks at the status only.
	answer(client, response.StatusCode)
	return nil
}

// probeLocked tries in the background, once, whether a relay that upstream
// reaches itself takes the raw upgrade. The caller holds mu.
func (b *Bridge) probeLocked(node *tailcfg.DERPNode, goal target) {
	if node.STUNOnly || b.probed[goal.nodeKey] || b.closed {
		return
	}
	b.probed[goal.nodeKey] = true
	b.running.Go(func() {
		ctx, cancel := context.WithTimeout(b.ctx, probeTimeout)
		defer cancel()
		err := b.probe(ctx, goal)
		var refused statusError
		switch {
		case err == nil:
		case errors.As(err, &refused) && refused.retryable():
			b.noteRefused(goal, refused.Error())
			if b.config.Changed != nil {
				b.config.Changed()
			}
		default:
			// Unreachable now: tried again with the next map.
			b.mu.Lock()
			defer b.mu.Unlock()
			delete(b.probed, goal.nodeKey)
		}
	})
}

func (b *Bridge) probe(ctx context.Context, goal target) error {
	relay, err := b.dial(ctx, goal)
	if err != nil {
		return err
	}
	defer relay.Close()
	_, err = b.rawUpgrade(ctx, goal, relay)
	return err
}
