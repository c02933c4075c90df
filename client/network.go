package client

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// Network is how requests reach a deployment where the defaults do not do. The
// zero value is good. Its headers and its proxy's password are secrets: it
// shows as [redacted] in logs and errors.
type Network struct {
	// Header goes with each request.
	Header http.Header
	// CAPEM holds certificate authorities to trust besides the system's.
	CAPEM []byte
	// Proxy is nil for what the environment says.
	Proxy *url.URL
}

// LogValue redacts.
func (Network) LogValue() slog.Value { return slog.StringValue(redacted) }

// String redacts.
func (Network) String() string { return redacted }

// GoString redacts.
func (Network) GoString() string { return redacted }

// ErrNoCertificate means that a file of authorities holds none.
var ErrNoCertificate = errors.New("no certificate in PEM form in it")

// Options are those of a Client that travels so.
func (n Network) Options() (Options, error) {
	transport, err := n.Transport()
	if err != nil {
		return Options{}, err
	}
	return Options{HTTP: &http.Client{Transport: transport}, Header: n.Header}, nil
}

// Transport is Go's default one with our proxy and authorities.
func (n Network) Transport() (*http.Transport, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if n.Proxy != nil {
		transport.Proxy = http.ProxyURL(n.Proxy)
	}
	if len(n.CAPEM) == 0 {
		return transport, nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("read the system's certificate authorities: %w", err)
	}
	if !pool.AppendCertsFromPEM(n.CAPEM) {
		return nil, fmt.Errorf("read certificate authorities: %w", ErrNoCertificate)
	}
	transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	return transport, nil
}

// ParseProxy reads the URL of a proxy; its errors do not quote it, because a
// password may be in it.
func ParseProxy(text string) (*url.URL, error) {
	proxy, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, errors.New("read the proxy's URL: it cannot be read")
	case !slices.Contains([]string{"http", "https", "socks5"}, proxy.Scheme):
		return nil, errors.New("read the proxy's URL: it does not begin with http://, https:// or socks5://")
	case proxy.Hostname() == "":
		return nil, errors.New("read the proxy's URL: it has no host")
	}
	return proxy, nil
}

// ownHeaders are set by us or by the HTTP library.
var ownHeaders = []string{
	tokenHeader, "Accept", "Connection", "Content-Length", "Content-Type", "Host", "Sec-Websocket-Key",
	"Sec-Websocket-Protocol", "Sec-Websocket-Version", "Transfer-Encoding", "Upgrade",
}

// CheckHeader says whether a header may go with each request. The error names
// the header and never quotes the value.
func CheckHeader(name, value string) error {
	canonical := http.CanonicalHeaderKey(name)
	switch {
	case !httpguts.ValidHeaderFieldName(name):
		return errors.New("read header: its name is empty or holds characters that no header's name has")
	case slices.Contains(ownHeaders, canonical):
		return fmt.Errorf("read header %s: this one is not yours to set", canonical)
	case !httpguts.ValidHeaderFieldValue(value) || strings.TrimSpace(value) == "":
		return fmt.Errorf("read header %s: its value is empty or holds characters that no header has", canonical)
	}
	return nil
}
