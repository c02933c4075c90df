package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func serve(t *testing.T, handler http.HandlerFunc) (*Client, *url.URL) {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	access, _ := url.Parse(server.URL)
	return New(access, "secret-token", Options{HTTP: &http.Client{Transport: transport}, Header: http.Header{"X-Extra": {"yes"}}, Timeout: 2 * time.Second}), access
}

func answer(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}
}

func TestMe(t *testing.T) {
	c, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/v2/users/me" || r.Header.Get("Coder-Session-Token") != "secret-token" || r.Header.Get("X-Extra") != "yes" {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		answer(200, `{"id":"11111111-2222-3333-4444-555555555555","username":"alice","more":1}`)(w, r)
	})
	user, err := c.Me(t.Context())
	if err != nil || user.Username != "alice" || user.ID.String() != "11111111-2222-3333-4444-555555555555" {
		t.Errorf("got %+v, %v", user, err)
	}
}

func TestRefusals(t *testing.T) {
	tests := []struct {
		name    string
		handler http.HandlerFunc
		is      error
		text    string
	}{
		{"signed out", answer(401, `{"message":"You are signed out","detail":"token expired"}`), ErrSignedOut, "token expired"},
		{"forbidden", answer(403, `{"message":"No"}`), nil, "HTTP 403: No"},
		{"no JSON", answer(502, `<h1>`), nil, "HTTP 502: Bad Gateway"},
		{"web page", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, "<!doctype html><title>Log in to the hotel network</title>")
		}, ErrNotControlPlane, "web page"},
		{"other JSON", answer(200, `{"hello":"world"}`), ErrNotControlPlane, "no user"},
		{"wrong type", answer(200, `{"id":7}`), ErrNotControlPlane, ""},
		{"empty", answer(200, ``), ErrNotControlPlane, ""},
		{"huge", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Repeat(" ", bodyLimit+10)) }, nil, "over"},
		{"slow", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, context.DeadlineExceeded, ""},
		{"redirect elsewhere", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://elsewhere.test/", http.StatusFound)
		}, nil, "elsewhere.test"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c, access := serve(t, test.handler)
			_, err := c.Me(t.Context())
			if err == nil || (test.is != nil && !errors.Is(err, test.is)) || !strings.Contains(err.Error(), test.text) {
				t.Fatalf("got %v", err)
			}
			if !strings.Contains(err.Error(), access.Host) || strings.Contains(err.Error(), "secret") {
				t.Errorf("error %q", err)
			}
			if errors.Is(err, ErrSignedOut) != (test.name == "signed out") {
				t.Errorf("counts as signed out: %v", errors.Is(err, ErrSignedOut))
			}
		})
	}
}

func TestCertificateThatDoesNotVerify(t *testing.T) {
	server := httptest.NewTLSServer(answer(200, `{}`))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	t.Cleanup(server.Close)
	access, _ := url.Parse(server.URL)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	_, err := New(access, "t", Options{HTTP: &http.Client{Transport: transport}}).BuildInfo(t.Context())
	if !errors.Is(err, ErrCertificate) || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("got %v", err)
	}
}

func TestBuildInfo(t *testing.T) {
	c, _ := serve(t, answer(200, `{"version":"v1.2.3"}`))
	if info, err := c.BuildInfo(t.Context()); err != nil || info.Version != "v1.2.3" {
		t.Errorf("got %+v, %v", info, err)
	}
}

const relayMap = `{"Regions":{"999":{"EmbeddedRelay":true,"RegionID":999,"RegionCode":"coder","RegionName":"Coder Embedded Relay",
	"Nodes":[{"Name":"999b","RegionID":999,"HostName":"inside","STUNPort":-1,"ForceHTTP":false}]},
	"2":{"RegionID":2,"Nodes":[{"Name":"2a","RegionID":2,"HostName":"two.test","DERPPort":8080,"ForceHTTP":true}]}}}`

func TestConnection(t *testing.T) {
	c, access := serve(t, answer(200, `{"derp_map":`+relayMap+`,"derp_force_websockets":true,"disable_direct_connections":true,"hostname_suffix":"Dev.Example"}`))
	info, err := c.Connection(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !info.DisableDirect || !info.ForceWebsockets || info.HostnameSuffix != "dev.example" {
		t.Errorf("got %+v", info)
	}
	m := info.RelayMap
	if !m.Embedded[999] || m.Regions[999].Nodes[0].HostName != access.Hostname() || !m.PlainHTTP["999b"] || !m.PlainHTTP["2a"] || m.Regions[2].Nodes[0].HostName != "two.test" {
		data, _ := json.Marshal(m)
		t.Errorf("relay map %s", data)
	}
}

func TestConnectionOddities(t *testing.T) {
	tests := []struct {
		body string
		ok   bool
	}{
		{`{}`, true},
		{`{"derp_map":null}`, true},
		{`{"derp_map":{}}`, true},
		{`{"derp_map":{"Regions":{"1":null}}}`, false},
		{`{"derp_map":{"Regions":{"1":{"Nodes":[null]}}}}`, false},
		{`{"derp_map":7}`, false},
		{`{"hostname_suffix":"a b"}`, false},
		{`{"hostname_suffix":"a..b"}`, false},
		{`{"hostname_suffix":"` + strings.Repeat("abc.", 80) + `x"}`, false},
		{`{"hostname_suffix":"."}`, true},
	}
	for _, test := range tests {
		c, _ := serve(t, answer(200, test.body))
		info, err := c.Connection(t.Context())
		if (err == nil) != test.ok {
			t.Errorf("%s: %v", test.body, err)
		}
		if err == nil && (info.RelayMap.DERPMap == nil || info.HostnameSuffix != "coder") {
			t.Errorf("%s: %+v", test.body, info)
		}
	}
}

func TestSuffixSparesTheControlPlane(t *testing.T) {
	for _, test := range []struct {
		suffix, host string
		ok           bool
	}{
		{"coder", "coder.example.com", true},
		{"ws.example.com", "coder.example.com", true},
		{"coder", "192.0.2.7", true},
		{"coder", "myocoder", true},
		{"example.com", "coder.Example.com", false},
		{"coder.example.com", "coder.example.com.", false},
		{"com", "coder.example.net", false},
		{"co.uk", "coder.example.net", false},
		{"localhost", "192.0.2.7", false},
	} {
		if err := checkSuffix(test.suffix, test.host); (err == nil) != test.ok {
			t.Errorf("suffix %s of %s: %v", test.suffix, test.host, err)
		}
	}
}

func TestTokenNeverShows(t *testing.T) {
	token := Token("very-secret")
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", slog.Any("token", token))
	data, _ := json.Marshal(map[string]any{"token": token})
	all := fmt.Sprintf("%v %s %q %#v %+v", token, token, token, token, struct{ T Token }{token}) + log.String() + string(data)
	if strings.Contains(all, "very-secret") {
		t.Errorf("it shows: %s", all)
	}
}

func FuzzRelayMap(f *testing.F) {
	f.Add([]byte(relayMap))
	access := &url.URL{Scheme: "http", Host: "plane.test"}
	f.Fuzz(func(_ *testing.T, data []byte) {
		if m, err := parseRelayMap(data); err == nil {
			m.RewriteEmbedded(access).Proto()
		}
	})
}
