package service

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/causewayhq/causeway/client"
	"github.com/causewayhq/causeway/tunnel"
)

// The limits of what a profile says about the way to its deployment.
const (
	maxHeaders     = 32
	maxHeaderBytes = 16 << 10 // of names and values together
	maxCA          = 64 << 10 // about 30 certificates
)

// reserved are headers that are ours or the transport's: hop-by-hop ones
// (RFC 9110 section 7.6.1) would break the connection or smuggle a request, and
// the token has a place of its own.
var reserved = []string{
	"Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
	"Host", "Content-Length", "Content-Type", "Accept", "Coder-Session-Token",
}

// add checks one header and adds it. Its errors never hold the value.
func (h Headers) add(name, value string) error {
	canonical := textproto.CanonicalMIMEHeaderKey(name)
	switch {
	case !httpguts.ValidHeaderFieldName(name):
		return errors.New("a header's name holds a character that none has")
	case slices.Contains(reserved, canonical) || strings.HasPrefix(canonical, "Sec-Websocket-"):
		return fmt.Errorf("header %s cannot be set: it belongs to the connection", canonical)
	case !httpguts.ValidHeaderFieldValue(value):
		return fmt.Errorf("the value of header %s holds a line break or another character that none has", canonical)
	}
	h[canonical] = append(h[canonical], value)
	size, count := 0, 0
	for key, values := range h {
		for _, one := range values {
			size, count = size+len(key)+len(one), count+1
		}
	}
	if count > maxHeaders || size > maxHeaderBytes {
		return fmt.Errorf("more than %d headers, or than %d bytes of them", maxHeaders, maxHeaderBytes)
	}
	return nil
}

func headersOf(given http.Header) (Headers, error) {
	if len(given) == 0 {
		return nil, nil
	}
	headers := Headers{}
	for name, values := range given {
		for _, value := range values {
			if err := headers.add(name, value); err != nil {
				return nil, err
			}
		}
	}
	return headers, nil
}

// checkCA takes certificates in PEM, and nothing else.
func checkCA(text string) error {
	if text == "" {
		return nil
	}
	if len(text) > maxCA {
		return fmt.Errorf("the certificate authorities are more than %d bytes", maxCA)
	}
	return checkCertificates(text)
}

func checkCertificates(text string) error {
	rest, count := []byte(text), 0
	for {
		block, after := pem.Decode(rest)
		if block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return errors.New("the certificate authorities hold something that is no certificate")
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return fmt.Errorf("a certificate authority cannot be read: %w", err)
		}
		rest, count = after, count+1
	}
	if count == 0 {
		return errors.New("the certificate authorities are not PEM (-----BEGIN CERTIFICATE-----)")
	}
	return nil
}

// parseProxy takes the address of an HTTP proxy; "" is none. Its errors do not
// quote it: it may hold a password.
func parseProxy(text string) (*url.URL, error) {
	if text == "" {
		return nil, nil
	}
	proxy, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, errors.New("the proxy's address cannot be read")
	case proxy.Scheme != "http" && proxy.Scheme != "https":
		return nil, errors.New("the proxy's address does not begin with http:// or https://")
	case proxy.Hostname() == "":
		return nil, errors.New("the proxy's address has no host")
	case strings.Trim(proxy.Path, "/") != "" || proxy.RawQuery != "" || proxy.Fragment != "":
		return nil, errors.New("the proxy's address holds more than a host and a port")
	}
	proxy.Path = ""
	return proxy, nil
}

// api is a client of the profile's deployment that goes the way its tunnel does.
// done lets its connections go.
func (p Profile) api(ctx context.Context) (api *client.Client, done func(), err error) {
	headers, err := p.allHeaders(ctx)
	if err != nil {
		return nil, nil, err
	}
	network := client.Network{Header: headers, CAPEM: []byte(p.CA), Proxy: p.Proxy}
	options, err := network.Options()
	if err != nil {
		return nil, nil, err
	}
	return client.New(p.URL, p.Token, options), options.HTTP.CloseIdleConnections, nil
}

// VerifyToken is Verify for real deployments.
func VerifyToken(ctx context.Context, p Profile) (client.User, error) {
	api, done, err := p.api(ctx)
	if err != nil {
		return client.User{}, err
	}
	defer done()
	return api.Me(ctx)
}

// RevokeToken is Revoke for real deployments.
func RevokeToken(ctx context.Context, p Profile) error {
	api, done, err := p.api(ctx)
	if err != nil {
		return err
	}
	defer done()
	return api.Revoke(ctx)
}

// tunnelProfile is the profile as the tunnel takes it.
func (p Profile) tunnelProfile() tunnel.Profile {
	out := tunnel.Profile{
		URL: p.URL, Token: p.Token, User: client.User{ID: parseID(p.UserID), Username: p.User},
		Headers: http.Header(p.Headers), HeaderSource: p.more, Proxy: p.Proxy,
	}
	if p.CA == "" {
		return out
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool() // the profile's own may well be all it needs
	}
	pool.AppendCertsFromPEM([]byte(p.CA))
	out.TLS = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	return out
}
