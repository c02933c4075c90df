package doctor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/http/httpproxy"
)

const (
	// webLimit bounds one request to the control plane, and proxyLimit one
	// connection to a proxy.
	webLimit, proxyLimit = 5 * time.Second, 3 * time.Second
	// noticeLimit is past the 10 s in which the daemon notices that its
	// connection is silent (ping every 5 s, 5 s for the answer).
	noticeLimit, noticeEvery = 11 * time.Second, 250 * time.Millisecond
)

// errNoAnswer is a silence.
var errNoAnswer = errors.New("no answer")

// Proxies reads both environments and tries what they name.
func (m *Machine) Proxies(ctx context.Context, tunnel Tunnel) Proxies {
	target, err := url.Parse(tunnel.Status.GetUrl())
	if err != nil || target.Host == "" {
		return Proxies{}
	}
	service := map[string]string{}
	for _, variable := range tunnel.Variables {
		service[variable.GetName()] = variable.GetValue()
	}
	return Proxies{
		Service: proxyOf(ctx, target, func(name string) string { return service[name] }),
		User: proxyOf(ctx, target, func(name string) string {
			value, _ := m.LookupEnv(name)
			return value
		}),
	}
}

// proxyOf does what net/http does with an environment.
func proxyOf(ctx context.Context, target *url.URL, getenv func(string) string) Proxy {
	first := func(names ...string) (string, string) {
		for _, name := range names {
			if value := getenv(name); value != "" {
				return name, value
			}
		}
		return "", ""
	}
	plainName, plain := first("HTTP_PROXY", "http_proxy")
	secureName, secure := first("HTTPS_PROXY", "https_proxy")
	_, except := first("NO_PROXY", "no_proxy")
	proxy := Proxy{Variable: plainName, Value: withoutUser(plain)}
	if target.Scheme == "https" {
		proxy = Proxy{Variable: secureName, Value: withoutUser(secure)}
	}
	address, err := (&httpproxy.Config{HTTPProxy: plain, HTTPSProxy: secure, NoProxy: except}).ProxyFunc()(target)
	switch {
	case err != nil:
		// The error of net/url repeats the value, with its password.
		proxy.Err = errors.New("it is no address of a proxy")
	case address == nil:
		return Proxy{}
	default:
		proxy.Err = connect(ctx, address)
	}
	return proxy
}

func withoutUser(value string) string {
	if at := strings.LastIndex(value, "@"); at >= 0 {
		scheme, _, found := strings.Cut(value, "://")
		if value = value[at+1:]; found {
			value = scheme + "://" + value
		}
	}
	return value
}

// connect opens a connection to a proxy, and closes it.
func connect(ctx context.Context, address *url.URL) error {
	port := address.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080"}[address.Scheme]
	}
	dialer := net.Dialer{Timeout: proxyLimit}
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(address.Hostname(), port))
	if err != nil {
		return err
	}
	return conn.Close()
}

// Control asks the control plane what anybody may ask, by the daemon's way. If
// there is no answer, the daemon is given time to notice the same.
func (m *Machine) Control(ctx context.Context, tunnel Tunnel, proxies Proxies) Control {
	c := Control{Connected: tunnel.Status.GetControlConnected()}
	if access, err := url.Parse(tunnel.Status.GetUrl()); err == nil && access.Host != "" {
		c.ask(ctx, access, proxies.Service)
	}
	status := tunnel.Status
	deadline := time.Now().Add(noticeLimit)
	for c.Err != nil && c.Connected && time.Now().Before(deadline) && ctx.Err() == nil {
		pause(ctx, noticeEvery)
		if now := m.status(ctx); now != nil {
			status, c.Connected = now, now.GetControlConnected()
		}
	}
	for _, problem := range status.GetProblems() {
		if strings.HasPrefix(problem.GetCode(), "control-") && problem.GetCode() != "control-ended" || problem.GetCode() == "signed-out" {
			c.Problem = problem
			break
		}
	}
	return c
}

func (c *Control) ask(ctx context.Context, access *url.URL, proxy Proxy) {
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}}
	if proxy.Variable != "" {
		address, err := url.Parse(proxy.Value)
		if err != nil || address.Host == "" {
			address, err = url.Parse("http://" + proxy.Value) // as net/http takes it
		}
		if err != nil {
			return
		}
		transport.Proxy = http.ProxyURL(address)
	}
	c.Asked = true
	c.Err = c.get(ctx, access, transport)
	var certificate *tls.CertificateVerificationError
	if errors.As(c.Err, &certificate) {
		// A clock that is far off makes certificates fail. Nothing is sent but
		// the question, and nothing is believed but the time.
		transport.TLSClientConfig.InsecureSkipVerify = true
		why := c.Err
		_ = c.get(ctx, access, transport)
		c.Err, c.HTTP = why, 0
	}
	if c.HTTP == http.StatusProxyAuthRequired {
		c.Asked, c.HTTP = false, 0 // the daemon has a password that it does not tell
	}
}

// get takes the status and the time of one answer; it sends no token.
func (c *Control) get(ctx context.Context, access *url.URL, transport *http.Transport) error {
	ctx, cancel := context.WithTimeout(ctx, webLimit)
	defer cancel()
	where := access.JoinPath("/api/v2/buildinfo").String()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, where, nil)
	if err != nil {
		return err
	}
	began := time.Now()
	response, err := transport.RoundTrip(request)
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("get %s: no answer within %s", where, webLimit)
	}
	if err != nil {
		return fmt.Errorf("get %s: %w", where, err)
	}
	defer response.Body.Close()
	c.HTTP = response.StatusCode
	if date, err := http.ParseTime(response.Header.Get("Date")); err == nil {
		took := time.Since(began)
		// The header has whole seconds: on average it is half of one behind.
		c.Date = date.Add(500 * time.Millisecond)
		c.Skew = began.Round(0).Add(took / 2).Sub(c.Date)
	}
	return nil
}

// pause waits, and says false if the context ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
