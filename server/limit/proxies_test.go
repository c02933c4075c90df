package limit

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

// TestBehindProxies: only who is named as a proxy says who asks.
func TestBehindProxies(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("10.0.0.0/8")}
	tests := []struct {
		name, from string
		forwarded  []string
		want       string
	}{
		{"a client by itself", "192.0.2.1:80", nil, "192.0.2.1:80"},
		{"a client that claims", "192.0.2.1:80", []string{"198.51.100.1"}, "192.0.2.1:80"},
		{"by a proxy", "127.0.0.1:80", []string{"198.51.100.1"}, "198.51.100.1:0"},
		{"by two proxies", "127.0.0.1:80", []string{"198.51.100.1, 10.1.2.3"}, "198.51.100.1:0"},
		{"in two headers", "127.0.0.1:80", []string{"198.51.100.1", "10.1.2.3"}, "198.51.100.1:0"},
		{"a claim before the proxy's word", "127.0.0.1:80", []string{"203.0.113.9, 198.51.100.1"}, "198.51.100.1:0"},
		{"a claim to be a proxy", "127.0.0.1:80", []string{"203.0.113.9, 10.9.9.9, 198.51.100.1"}, "198.51.100.1:0"},
		{"nonsense", "127.0.0.1:80", []string{"nonsense"}, "127.0.0.1:80"},
		{"nonsense before", "127.0.0.1:80", []string{"nonsense, 10.1.2.3"}, "10.1.2.3:0"},
		{"no header", "127.0.0.1:80", nil, "127.0.0.1:80"},
		{"an empty one", "127.0.0.1:80", []string{""}, "127.0.0.1:80"},
		{"IPv6", "[::ffff:127.0.0.1]:80", []string{"2001:db8::7"}, "[2001:db8::7]:0"},
		{"with a port", "127.0.0.1:80", []string{"203.0.113.9, 198.51.100.1:4711"}, "198.51.100.1:0"},
		{"IPv6 with a port", "127.0.0.1:80", []string{"[2001:db8::7]:4711"}, "[2001:db8::7]:0"},
		{"IPv6 in brackets", "127.0.0.1:80", []string{"203.0.113.9, [2001:db8::7], ::ffff:10.1.2.3"}, "[2001:db8::7]:0"},
		{"half a bracket", "127.0.0.1:80", []string{"203.0.113.9, [2001:db8::7"}, "127.0.0.1:80"},
		{"by an untrusted neighbour of the proxy", "127.0.0.2:80", []string{"198.51.100.1"}, "127.0.0.2:80"},
		{"a long one", "127.0.0.1:80", []string{"203.0.113.9" + strings.Repeat(", 10.0.0.1", 1000)}, "10.0.0.1:0"},
	}
	for _, test := range tests {
		var got string
		handler := Behind(proxies, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.RemoteAddr }))
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
		r.RemoteAddr, r.Header["X-Forwarded-For"] = test.from, test.forwarded
		handler.ServeHTTP(httptest.NewRecorder(), r)
		if got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}
