package client

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestTokenExpiry(t *testing.T) {
	at := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	for name, test := range map[string]struct {
		token  Token
		answer http.HandlerFunc
		want   time.Time
		fails  bool
	}{
		"told": {"abc-secret-x", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/api/v2/users/me/keys/abc" || r.Header.Get(tokenHeader) != "abc-secret-x" {
				w.WriteHeader(http.StatusTeapot)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"id":"abc","expires_at":%q}`, at.Format(time.RFC3339))
		}, at, false},
		"told by causeway-server": {"cwu_abc_secret", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/api/v2/users/me/keys/abc" {
				w.WriteHeader(http.StatusTeapot)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"id":"abc","expires_at":%q}`, at.Format(time.RFC3339))
		}, at, false},
		"never": {"abc-x", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, `{"id":"abc"}`)
		}, time.Time{}, false},
		"no such route": {"abc-x", http.NotFound, time.Time{}, false},
		"a web page": {"abc-x", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, "<html>")
		}, time.Time{}, false},
		"refused":        {"abc-x", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }, time.Time{}, true},
		"broken":         {"abc-x", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }, time.Time{}, true},
		"token of no ID": {"opaque", func(w http.ResponseWriter, _ *http.Request) { t.Error("asked"); w.WriteHeader(500) }, time.Time{}, false},
		"escaped ID": {"../x-y", func(w http.ResponseWriter, r *http.Request) {
			if !strings.HasPrefix(r.URL.EscapedPath(), "/api/v2/users/me/keys/..%2F") {
				t.Errorf("path %s", r.URL.EscapedPath())
			}
			http.NotFound(w, r)
		}, time.Time{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(test.answer)
			defer server.Close()
			access, err := url.Parse(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			got, err := New(access, test.token, Options{HTTP: server.Client()}).TokenExpiry(t.Context())
			if !got.Equal(test.want) || (err != nil) != test.fails {
				t.Errorf("TokenExpiry() = %v, %v", got, err)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the error shows the token: %v", err)
			}
		})
	}
}
