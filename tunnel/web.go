package tunnel

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"time"
)

// httpClient is for REST and for the websocket, which needs HTTP/1.1. It finds
// hosts by the book.
func httpClient(profile Profile, book *addressBook) *http.Client {
	config := profile.TLS
	if config == nil {
		config = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	config = config.Clone()
	config.NextProtos = nil
	return &http.Client{Transport: &http.Transport{
		Proxy: profile.proxy(), TLSClientConfig: config,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return book.dial(ctx, network, address, nil)
		},
		DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return book.dial(ctx, network, address, handshake(config, address))
		},
		TLSHandshakeTimeout: dialLimit, IdleConnTimeout: 30 * time.Second, MaxIdleConns: 2,
		TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{},
	}}
}

// handshake makes TLS with the host of an address, whatever IP address it was
// reached at.
func handshake(config *tls.Config, address string) secure {
	return func(ctx context.Context, conn net.Conn) (net.Conn, error) {
		named := config.Clone()
		if host, _, err := net.SplitHostPort(address); err == nil && named.ServerName == "" {
			named.ServerName = host
		}
		secured := tls.Client(conn, named)
		if err := secured.HandshakeContext(ctx); err != nil {
			conn.Close()
			return nil, err
		}
		return secured, nil
	}
}
