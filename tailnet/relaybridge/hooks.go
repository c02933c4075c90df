package relaybridge

import (
	"net/http"
	"net/url"
	"strings"
	"sync"

	"tailscale.com/feature"
)

// bridges are the running ones: upstream's hooks are process-wide, so they
// find the bridge by the made-up domain or by its listener.
var bridges registry

type registry struct {
	mu       sync.RWMutex
	byDomain map[string]*Bridge
	byHost   map[string]*Bridge
}

func (r *registry) add(b *Bridge) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byDomain == nil {
		r.byDomain, r.byHost = map[string]*Bridge{}, map[string]*Bridge{}
	}
	r.byDomain[b.domain], r.byHost[b.proxyURL.Host] = b, b
}

func (r *registry) remove(b *Bridge) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.byDomain, b.domain)
	delete(r.byHost, b.proxyURL.Host)
}

func (r *registry) forRelay(host string) *Bridge {
	_, domain, _ := strings.Cut(host, ".")
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.byDomain[domain]
}

func (r *registry) forProxy(host string) *Bridge {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.byHost[host]
}

// installHooks puts us between upstream and the HTTP proxies, once in a process.
var installHooks = sync.OnceFunc(func() {
	feature.HookProxyFromEnvironment.Set(proxyFor)
	feature.HookProxyGetAuthHeader.Set(proofFor)
})

// proxyFor answers upstream's question for a proxy.
func proxyFor(request *http.Request) (*url.URL, error) {
	if b := bridges.forRelay(request.URL.Hostname()); b != nil {
		return b.proxyURL, nil
	}
	return http.ProxyFromEnvironment(request)
}

// proofFor answers upstream's question for the Proxy-Authorization header.
func proofFor(proxy *url.URL) (string, error) {
	if b := bridges.forProxy(proxy.Host); b != nil {
		return b.secret, nil
	}
	return basicAuth(proxy), nil
}
