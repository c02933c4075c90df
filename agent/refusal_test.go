package agent

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/causewayhq/causeway/control"
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
			err := Run(t.Context(), Config{Logger: testLogger(), URL: test.url, Token: FixedToken(test.token), StateDir: filepath.Join(t.TempDir(), "s")})
			if !errors.Is(err, test.want) || strings.Contains(fmt.Sprint(err), string(test.token)+"\"") {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
	t.Run("version", func(t *testing.T) {
		p.mu.Lock()
		p.refuse = http.StatusBadRequest
		p.mu.Unlock()
		err := Run(t.Context(), Config{Logger: testLogger(), URL: p.url, Token: FixedToken(testToken), StateDir: filepath.Join(t.TempDir(), "s")})
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

// lines keeps what an agent logs.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(line)
}

func (l *lines) count(part string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), part)
}

// An outage that the agent's keeper has to mend is told as such, also when it
// began as another one, and once.
func TestDeletedAgentSaysSo(t *testing.T) {
	p, said := newPlane(t), &lines{}
	r := p.startAgentWith("", slog.New(slog.NewTextHandler(said, nil)))
	r.wait()
	p.down()
	eventually(t, "the outage", func() bool { return said.count(outageAway) == 1 })
	p.mu.Lock()
	p.refuse = http.StatusUnauthorized
	p.mu.Unlock()
	p.up()
	eventually(t, "why", func() bool { return said.count("this agent was deleted or its token revoked") == 1 })
	if said.count(outageAway) != 1 || said.count("agent token prints one") != 1 {
		t.Errorf("said %s", said.text.String())
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
}

func TestOutagesAreToldOnce(t *testing.T) {
	said := &lines{}
	a := &agent{log: slog.New(slog.NewTextHandler(said, nil)), config: Config{URL: &url.URL{}}, once: true}
	away, refused := errors.New("away"), control.ErrSignedOut
	for _, step := range []struct {
		connected      bool
		cause          error
		aways, refuses int
	}{
		{false, away, 1, 0}, {false, away, 1, 0}, {false, refused, 1, 1}, {false, refused, 1, 1}, {false, nil, 1, 1}, {false, refused, 1, 1},
		{false, away, 2, 1}, {true, nil, 2, 1}, {false, away, 3, 1}, {true, nil, 3, 1}, {false, refused, 3, 2},
	} {
		a.setConnected(step.connected, step.cause)
		if aways, refuses := said.count(outageAway), said.count("this agent was deleted"); aways != step.aways || refuses != step.refuses {
			t.Fatalf("%v, %v: told %d and %d times, want %d and %d", step.connected, step.cause, aways, refuses, step.aways, step.refuses)
		}
	}
}

// Two agents with one token say so.
func TestSecondAgentWithOneTokenIsTold(t *testing.T) {
	p, said := newPlane(t), &lines{}
	r := p.startAgentWith("", slog.New(slog.NewTextHandler(said, nil)))
	r.wait()
	p.startAgent("").wait()
	eventually(t, "what is wrong", func() bool {
		return said.count(outageRival) > 0 && said.count("another client or agent uses this identity") > 0
	})
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

// TestPlainServerBehindHTTPS is told with what to write instead.
func TestPlainServerBehindHTTPS(t *testing.T) {
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	said := &lines{}
	p := newPlane(t)
	p.url, _ = url.Parse(strings.Replace(plain.URL, "http://", "https://", 1))
	r := p.startAgentWith("", slog.New(slog.NewTextHandler(said, nil)))
	eventually(t, "what is wrong", func() bool { return said.count("speaks plain HTTP; use http://") == 1 })
	if err := r.stop(); err != nil {
		t.Error(err)
	}
}

// TestPlainly: of a refused token its reason is told, and of other refusals all.
func TestPlainly(t *testing.T) {
	for _, test := range []struct {
		cause error
		want  string
	}{
		{&control.DialError{URL: "u", Status: 401, Message: "Please sign in.", Detail: "The token is not known."}, "dial u: HTTP 401: The token is not known"},
		{&control.DialError{URL: "u", Status: 401, Message: "unauthorized"}, "dial u: HTTP 401: unauthorized"},
		{&control.DialError{URL: "u", Status: 500, Message: "Broken.", Detail: "A reason."}, "dial u: HTTP 500: Broken.: A reason."},
	} {
		got := plainly(fmt.Errorf("%w", test.cause))
		if got.Error() != test.want || errors.Is(got, control.ErrSignedOut) != errors.Is(test.cause, control.ErrSignedOut) {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}

// TestNewsAreNoOutage: an agent that is asked to read its definition again says
// that, and not that there is no control plane.
func TestNewsAreNoOutage(t *testing.T) {
	for cause, want := range map[string]string{
		"control plane says: " + redefinedText + "; retry after 100ms": outageNews, "connection refused": outageAway,
	} {
		if got := outage(errors.New(cause)); got != want {
			t.Errorf("%s: %s", cause, got)
		}
	}
}
