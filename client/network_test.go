package client

import (
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestNetwork(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"version":%q}`, r.Header.Get("X-Front"))
	}))
	defer server.Close()
	proxied := ""
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		proxied = r.Method + " " + r.Host
		http.Error(w, "no", http.StatusBadGateway)
	}))
	defer proxy.Close()
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	build := func(network Network) (string, error) {
		options, err := network.Options()
		if err != nil {
			return "", err
		}
		info, err := New(mustURL(server.URL), "", options).BuildInfo(t.Context())
		options.HTTP.CloseIdleConnections()
		return info.Version, err
	}
	if _, err := build(Network{}); !errors.Is(err, ErrCertificate) {
		t.Errorf("without its authority: %v, want %v", err, ErrCertificate)
	}
	if got, err := build(Network{CAPEM: authority, Header: http.Header{"X-Front": {"pass"}}}); err != nil || got != "pass" {
		t.Errorf("with its authority and a header: %q, %v", got, err)
	}
	if _, err := build(Network{CAPEM: []byte("none")}); !errors.Is(err, ErrNoCertificate) {
		t.Errorf("with a file of none: %v, want %v", err, ErrNoCertificate)
	}
	if _, err := build(Network{CAPEM: authority, Proxy: mustURL(proxy.URL)}); err == nil || proxied != "CONNECT "+strings.TrimPrefix(server.URL, "https://") {
		t.Errorf("by a proxy: %v, which saw %q", err, proxied)
	}
}

func TestParseProxy(t *testing.T) {
	for text, good := range map[string]bool{
		"http://proxy:3128": true, "https://u:secretpw@proxy": true, "socks5://[::1]:1080": true,
		"proxy:3128": false, "ftp://proxy": false, "http://": false, "http://u:secretpw@%zz": false, "": false,
	} {
		proxy, err := ParseProxy(text)
		if (err == nil) != good || (proxy != nil) != good {
			t.Errorf("ParseProxy(%q) = %v", text, err)
		}
		if err != nil && strings.Contains(err.Error(), "secretpw") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
}

func TestCheckHeader(t *testing.T) {
	for pair, good := range map[[2]string]bool{
		{"X-Front", "planted"}: true, {"authorization", "Basic planted"}: true, {"Cookie", "a=planted"}: true,
		{"X Front", "planted"}: false, {"", "planted"}: false, {"X-Front", "planted\r\nX: y"}: false, {"X-Front", " "}: false,
		{"coder-session-token", "planted"}: false, {"host", "planted"}: false, {"Transfer-Encoding", "planted"}: false,
	} {
		err := CheckHeader(pair[0], pair[1])
		if (err == nil) != good {
			t.Errorf("CheckHeader(%q) = %v", pair, err)
		}
		if err != nil && strings.Contains(err.Error(), "planted") {
			t.Errorf("the error shows the value: %v", err)
		}
	}
}

func TestNetworkRedacts(t *testing.T) {
	network := Network{Header: http.Header{"X-Front": {"planted"}}, Proxy: mustURL("http://u:planted@proxy")}
	for _, text := range []string{fmt.Sprint(network), fmt.Sprintf("%+v", network), fmt.Sprintf("%#v", network), network.LogValue().String()} {
		if strings.Contains(text, "planted") {
			t.Errorf("shows %s", text)
		}
	}
}
