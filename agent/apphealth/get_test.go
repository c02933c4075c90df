package apphealth

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestGet(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("a redirect was followed")
	}))
	t.Cleanup(elsewhere.Close)
	app := http.NewServeMux()
	for _, status := range []int{200, 204, 401, 404, 499, 500, 503} {
		app.HandleFunc(fmt.Sprintf("/%d", status), func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet {
				t.Errorf("method %s", r.Method)
			}
			w.WriteHeader(status)
		})
	}
	app.Handle("/moved", http.RedirectHandler(elsewhere.URL, http.StatusFound))
	app.HandleFunc("/endless", func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 32<<10)); err != nil {
				return
			}
		}
	})
	app.HandleFunc("/header", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 2*maxHeader)) })
	app.HandleFunc("/hangs", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	app.HandleFunc("/cut", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	server := httptest.NewServer(app)
	t.Cleanup(server.Close)
	gone := httptest.NewServer(nil)
	gone.Close()
	tests := []struct{ url, failure string }{
		{server.URL + "/200", ""},
		{server.URL + "/204", ""},
		{server.URL + "/401", ""},
		{server.URL + "/404", ""},
		{server.URL + "/499", ""},
		{server.URL + "/500", "HTTP 500"},
		{server.URL + "/503", "HTTP 503"},
		{server.URL + "/moved", ""},
		{server.URL + "/endless", ""},
		{server.URL + "/header", "exceeded"},
		{server.URL + "/hangs", "deadline exceeded"},
		{server.URL + "/cut", "EOF"},
		{gone.URL, "refused"},
		{"http://[", "cannot be parsed"},
		{"ftp://127.0.0.1", "unsupported protocol"},
		{strings.Replace(gone.URL, "http://", "http://u:the-secret@", 1), "refused"},
	}
	for _, test := range tests {
		t.Run(strings.TrimPrefix(test.url, server.URL), func(t *testing.T) {
			limit := 20 * time.Second
			if strings.HasSuffix(test.url, "/hangs") {
				limit = 100 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			err := get(ctx, test.url)
			if (err == nil) != (test.failure == "") || err != nil && !strings.Contains(err.Error(), test.failure) {
				t.Errorf("got %v, want %q", err, test.failure)
			}
			if err != nil && strings.Contains(err.Error(), "the-secret") {
				t.Errorf("a secret is in %q", err)
			}
		})
	}
}
