package agent

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestRefusals(t *testing.T) {
	p := newPlane(t)
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	secure.Config.ErrorLog = nil
	defer secure.Close()
	secureURL, _ := url.Parse(secure.URL)
	tests := []struct {
		name  string
		url   *url.URL
		token Token
		want  error
	}{
		{"wrong token", p.url, "wrong", ErrToken},
		{"unknown authority", secureURL, testToken, ErrCertificate},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := Run(t.Context(), Config{Logger: testLogger(), URL: test.url, Token: test.token, StateDir: filepath.Join(t.TempDir(), "s")})
			if !errors.Is(err, test.want) || strings.Contains(fmt.Sprint(err), string(test.token)+"\"") {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
	t.Run("version", func(t *testing.T) {
		p.mu.Lock()
		p.refuse = http.StatusBadRequest
		p.mu.Unlock()
		err := Run(t.Context(), Config{Logger: testLogger(), URL: p.url, Token: testToken, StateDir: filepath.Join(t.TempDir(), "s")})
		if !errors.Is(err, ErrVersion) {
			t.Errorf("got %v", err)
		}
	})
}

func TestLaterRefusalIsAnOutage(t *testing.T) {
	p := newPlane(t)
	r := p.startAgent("")
	r.wait()
	p.mu.Lock()
	p.refuse = http.StatusUnauthorized
	p.mu.Unlock()
	before := p.dials.Load()
	p.down()
	p.up()
	eventually(t, "a refused dial", func() bool { return p.dials.Load() > before })
	select {
	case err := <-r.ended:
		t.Fatalf("the agent gave up: %v", err)
	default:
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
}

func TestAbsentControlPlaneIsWaitedFor(t *testing.T) {
	p := newPlane(t)
	p.down()
	r := p.startAgent("")
	select {
	case err := <-r.ended:
		t.Fatalf("the agent gave up: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	p.up()
	r.wait()
}
