package server

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"sync"
	"time"

	"tailscale.com/types/key"
)

func accessPort(access *url.URL) int {
	if text := access.Port(); text != "" {
		port, _ := strconv.Atoi(text) // digits, as url.Parse saw to; too many give the highest number
		return port
	}
	if access.Scheme == "http" {
		return 80
	}
	return 443
}

// accessURL checks the URL that was set, or makes one of the address listened on.
func accessURL(set string, listening net.Addr, withTLS bool) (*url.URL, error) {
	if set == "" {
		return deriveURL(listening, withTLS)
	}
	parsed, err := url.Parse(set)
	var problem string
	switch {
	case err != nil:
		return nil, &SettingError{"access-url", fmt.Errorf("parse %q: %w", set, errors.Unwrap(err))}
	case parsed.Scheme != "http" && parsed.Scheme != "https":
		problem = "want http:// or https://"
	case parsed.Hostname() == "":
		problem = "the host is missing"
	case parsed.Path != "" && parsed.Path != "/" || parsed.RawQuery != "" || parsed.Fragment != "" || parsed.User != nil:
		problem = "want scheme, host and port only"
	case accessPort(parsed) < 1 || accessPort(parsed) > 65535:
		problem = "want a port from 1 to 65535"
	}
	if problem != "" {
		return nil, &SettingError{"access-url", fmt.Errorf("%q: %s", set, problem)}
	}
	parsed.Path = ""
	return parsed, nil
}

func deriveURL(listening net.Addr, withTLS bool) (*url.URL, error) {
	addr, err := netip.ParseAddrPort(listening.String())
	if err != nil {
		return nil, fmt.Errorf("parse listening address %s: %w", listening, err)
	}
	host := addr.Addr().Unmap()
	if host.IsUnspecified() {
		host = ownAddress()
	}
	scheme := "http"
	if withTLS {
		scheme = "https"
	}
	return &url.URL{Scheme: scheme, Host: netip.AddrPortFrom(host, addr.Port()).String()}, nil
}

// ownAddress is the address that others most likely reach this machine by: its
// first one that is neither loopback nor link-local, IPv4 before IPv6.
func ownAddress() netip.Addr {
	best := netip.MustParseAddr("127.0.0.1")
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return best
	}
	for _, addr := range addrs {
		prefix, err := netip.ParsePrefix(addr.String())
		if err != nil || !prefix.Addr().IsGlobalUnicast() {
			continue
		}
		if prefix.Addr().Is4() {
			return prefix.Addr()
		}
		if best.Is4() {
			best = prefix.Addr()
		}
	}
	return best
}

// ParseProxies reads addresses and networks of proxies.
func ParseProxies(texts []string) ([]netip.Prefix, error) {
	var proxies []netip.Prefix
	for _, text := range texts {
		proxy, err := netip.ParsePrefix(text)
		if addr, single := netip.ParseAddr(text); single == nil {
			addr = addr.Unmap() // as addresses of clients are compared
			proxy, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		switch {
		case err != nil || !proxy.IsValid():
			return nil, &SettingError{"trusted-proxies", fmt.Errorf("parse %q: want an address or a network, such as 127.0.0.1 or 10.0.0.0/8", text)}
		case proxy.Addr().Is4In6():
			return nil, &SettingError{"trusted-proxies", fmt.Errorf("%q is IPv4 written as IPv6: write it as IPv4, such as 10.0.0.0/8", text)}
		case proxy.Bits() == 0:
			return nil, &SettingError{"trusted-proxies", fmt.Errorf("%q is everybody: whoever asks could claim any address; name the proxies", text)}
		}
		proxies = append(proxies, proxy.Masked())
	}
	return proxies, nil
}

// newSetupCode has 128 bits: it is the one secret of a server without users.
func newSetupCode() string { return rand.Text() }

// nodePrivate goes by the text form: it is the only one that upstream keeps
// stable for keys that are stored.
func nodePrivate(raw []byte) (private key.NodePrivate, err error) {
	if err := private.UnmarshalText(hex.AppendEncode([]byte("privkey:"), raw)); err != nil {
		return private, fmt.Errorf("use relay key: %w", err)
	}
	return private, nil
}

// certificateCheck is how often a handshake looks whether the files are new.
const certificateCheck = 10 * time.Second

// certificate is a key pair in files, read again when they change, so that a
// renewal needs no restart.
type certificate struct {
	certFile, keyFile string

	mu      sync.Mutex
	current *tls.Certificate
	stamp   time.Time
	checked time.Time
}

func loadCertificate(certFile, keyFile string) (*certificate, error) {
	switch {
	case certFile == "" && keyFile == "":
		return nil, nil
	case certFile == "":
		return nil, &SettingError{"tls-cert", errors.New("it is needed with --tls-key")}
	case keyFile == "":
		return nil, &SettingError{"tls-key", errors.New("it is needed with --tls-cert")}
	}
	c := &certificate{certFile: certFile, keyFile: keyFile}
	if err := c.load(); err != nil {
		return nil, &SettingError{"tls-cert", err}
	}
	return c, nil
}

func (c *certificate) load() error {
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("load certificate %s with key %s: %w", c.certFile, c.keyFile, err)
	}
	c.current, c.stamp = &pair, c.modified()
	return nil
}

// modified is the newer of the two files' times, zero when one is missing.
func (c *certificate) modified() time.Time {
	cert, certErr := os.Stat(c.certFile)
	private, keyErr := os.Stat(c.keyFile)
	switch {
	case certErr != nil || keyErr != nil:
		return time.Time{}
	case cert.ModTime().After(private.ModTime()):
		return cert.ModTime()
	}
	return private.ModTime()
}

// get serves the newest pair that could be read; a half-written renewal leaves
// the old one in use.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.checked) > certificateCheck {
		c.checked = time.Now()
		if stamp := c.modified(); !stamp.IsZero() && !stamp.Equal(c.stamp) {
			// The next look tries again.
			_ = c.load()
		}
	}
	return c.current, nil
}
