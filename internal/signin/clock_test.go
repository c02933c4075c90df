package signin

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causewayhq/causeway/client"
	"github.com/causewayhq/causeway/server/signin"
	"github.com/causewayhq/causeway/server/store"
)

const accessURL = "https://causeway.example.com"

// pages is our server's sign-in without a network, so that its codes grow old on
// the clock of a test.
type pages struct {
	t       *testing.T
	store   *store.Store
	handler http.Handler
	alice   store.User
}

func newPages(t *testing.T) *pages {
	t.Helper()
	p := &pages{t: t}
	var err error
	if p.store, err = store.Open(t.Context(), t.TempDir()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.store.Close() })
	if p.alice, err = p.store.CreateUser(t.Context(), "alice", ""); err != nil {
		t.Fatal(err)
	}
	if err := p.store.SetPassword(t.Context(), p.alice, "correct horse battery staple"); err != nil {
		t.Fatal(err)
	}
	server := signin.New(signin.Config{Logger: slog.New(slog.DiscardHandler), Store: p.store, AccessURL: accessURL, Changed: func() {}})
	p.handler = server.Handler(http.NotFoundHandler())
	return p
}

// RoundTrip hands a request over. Browsers' and programs' go the same way.
func (p *pages) RoundTrip(r *http.Request) (*http.Response, error) {
	r.RemoteAddr = "192.0.2.7:40000"
	recorder := httptest.NewRecorder()
	if r.Body == nil {
		r.Body = http.NoBody
	}
	p.handler.ServeHTTP(recorder, r)
	return recorder.Result(), nil
}

func (p *pages) discover() *client.SignIn {
	p.t.Helper()
	access, err := url.Parse(accessURL)
	if err != nil {
		p.t.Fatal(err)
	}
	found, err := client.Discover(p.t.Context(), access, client.SignInOptions{
		Options: client.Options{HTTP: &http.Client{Transport: p}}, DeviceName: "laptop",
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return found
}

// A code that nobody approves is given up after ten minutes, by the server and
// by us, and cannot be approved any more.
func TestDeviceCodeExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, start := newPages(t), time.Now()
		var shown client.DeviceCode
		_, err := p.discover().Device(t.Context(), func(code client.DeviceCode) { shown = code })
		if took := time.Since(start); !errors.Is(err, client.ErrCodeExpired) || took < 9*time.Minute || took > 10*time.Minute {
			t.Errorf("Device() = %v after %s", err, took)
		}
		if shown.URL != accessURL+"/device" || !strings.HasPrefix(shown.FullURL, shown.URL+"?user_code=") || len(shown.UserCode) != 9 {
			t.Errorf("shown %+v", shown)
		}
		tokens, err := p.store.UserTokens(t.Context(), p.alice.ID)
		if err != nil || len(tokens) != 0 {
			t.Errorf("tokens %v, %v", tokens, err)
		}
	})
}
