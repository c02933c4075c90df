package relaybridge

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	// greetingTimeout bounds what a client may take to say what it wants, and
	// the TLS handshake with it.
	greetingTimeout = 10 * time.Second
	// maxStrangers bounds the connections that have not shown the secret: every
	// local program can make some, and each holds a descriptor of ours.
	maxStrangers = 128
	// dialTimeout bounds reaching a relay; upstream gives up after 10 s too.
	dialTimeout = 10 * time.Second
	// certificateLife is longer than any process runs.
	certificateLife = 10 * 365 * 24 * time.Hour
)

// selfSigned makes a certificate in memory.
func selfSigned(name string) (tls.Certificate, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make certificate key: %w", err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		// A day of grace: the clock may be set back while we run.
		NotBefore: now.Add(-24 * time.Hour), NotAfter: now.Add(certificateLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}, nil
}

func (b *Bridge) accept() {
	for {
		conn, err := b.listener.Accept()
		if err != nil {
			if b.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			// Out of descriptors, most likely: others have to end first.
			select {
			case <-b.ctx.Done():
				return
			case <-time.After(100 * time.Millisecond):
			}
			continue
		}
		b.running.Go(func() { b.serve(conn) })
	}
}

// serve carries one connection of upstream's client.
func (b *Bridge) serve(conn net.Conn) {
	defer conn.Close()
	defer context.AfterFunc(b.ctx, func() { conn.Close() })()
	if err := b.carry(conn); err != nil && b.ctx.Err() == nil {
		b.config.Logger.LogAttrs(b.ctx, slog.LevelDebug, "relay connection ended", slog.Any("error", err))
	}
}

// meet counts a connection among the strangers. One too many costs the oldest
// its place: our own client shows the secret at once.
func (b *Bridge) meet(conn net.Conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.strangers) >= maxStrangers {
		b.strangers[0].Close()
		b.strangers = b.strangers[1:]
	}
	b.strangers = append(b.strangers, conn)
}

// met takes it out again.
func (b *Bridge) met(conn net.Conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.strangers = slices.DeleteFunc(b.strangers, func(other net.Conn) bool { return other == conn })
}

func (b *Bridge) carry(conn net.Conn) error {
	b.meet(conn)
	goal, reader, err := b.greet(conn)
	b.met(conn)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(b.ctx, dialTimeout)
	defer cancel()
	// Reached before we accept: the latency that upstream measures from here on
	// is that of the relay, and a dead relay fails as one.
	relay, err := b.dial(ctx, goal)
	if err != nil {
		answer(conn, http.StatusBadGateway)
		return err
	}
	defer func() { relay.Close() }()
	defer context.AfterFunc(b.ctx, func() { relay.Close() })()
	if _, err := io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return fmt.Errorf("accept relay client: %w", err)
	}
	inner := tls.Server(bufferedConn{Conn: conn, reader: reader}, b.tls)
	if err := inner.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("shake hands with relay client: %w", err)
	}
	innerReader := bufio.NewReader(inner)
	if err := conn.SetReadDeadline(time.Now().Add(greetingTimeout)); err != nil {
		return fmt.Errorf("set deadline of relay client: %w", err)
	}
	request, err := http.ReadRequest(innerReader)
	if err != nil {
		return fmt.Errorf("read relay request: %w", err)
	}
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		return fmt.Errorf("clear deadline of relay client: %w", err)
	}
	if strings.EqualFold(request.Header.Get("Upgrade"), "derp") {
		return b.upgrade(ctx, goal, relay, bufferedConn{Conn: inner, reader: innerReader})
	}
	return b.check(ctx, goal, relay, request, inner)
}

// greet reads the CONNECT request and tells where it is to go. A client
// without the secret gets 407 and nothing else.
func (b *Bridge) greet(conn net.Conn) (target, *bufio.Reader, error) {
	if err := conn.SetDeadline(time.Now().Add(greetingTimeout)); err != nil {
		return target{}, nil, fmt.Errorf("set deadline of relay client: %w", err)
	}
	// ReadRequest has no limit of its own.
	reader := bufio.NewReader(conn)
	request, err := http.ReadRequest(bufio.NewReader(&headLimit{reader: reader, left: 8 << 10}))
	if err != nil {
		return target{}, nil, fmt.Errorf("read relay client's greeting: %w", err)
	}
	if !b.allows(request.Header.Get("Proxy-Authorization")) {
		answer(conn, http.StatusProxyAuthRequired)
		return target{}, nil, errors.New("refuse relay client: it does not have the secret")
	}
	host, _, err := net.SplitHostPort(request.Host)
	goal, found := b.target(host)
	if err != nil || request.Method != http.MethodConnect || !found {
		answer(conn, http.StatusNotFound)
		return target{}, nil, errors.New("refuse relay client: unknown relay")
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return target{}, nil, fmt.Errorf("clear deadline of relay client: %w", err)
	}
	return goal, reader, nil
}

// answer sends a status and ends the exchange; its error does not matter, the
// connection is closed next.
func answer(conn net.Conn, status int) {
	_, _ = fmt.Fprintf(conn, "HTTP/1.1 %d %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", status, http.StatusText(status))
}

// headLimit passes on one byte at a time, so that nothing behind the head of
// the request is taken from the reader below, and no more than left.
type headLimit struct {
	reader *bufio.Reader
	left   int
}

func (h *headLimit) Read(buffer []byte) (int, error) {
	if h.left <= 0 {
		return 0, errors.New("request head is too long")
	}
	if len(buffer) == 0 {
		return 0, nil
	}
	h.left--
	return h.reader.Read(buffer[:1])
}

// bufferedConn reads what a reader already took from the connection first.
type bufferedConn struct {
	net.Conn
	reader *bufio.Reader
}

func (c bufferedConn) Read(buffer []byte) (int, error) { return c.reader.Read(buffer) }

// splice copies both ways until one side ends.
func splice(left, right net.Conn) error {
	done := make(chan error, 1)
	go func() {
		_, err := io.Copy(left, right)
		left.Close()
		right.Close()
		done <- err
	}()
	_, err := io.Copy(right, left)
	left.Close()
	right.Close()
	return errors.Join(ignoreClosed(err), ignoreClosed(<-done))
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}
