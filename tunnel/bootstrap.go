package tunnel

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/causewayhq/causeway/client"
)

const (
	bootstrapFloor   = 250 * time.Millisecond
	bootstrapCeiling = 10 * time.Second
	// signedOutWait is the ceiling once the token is refused.
	signedOutWait = 30 * time.Second
	// refreshEvery is how long an answer is good for; a failed refresh is
	// tried again after refreshRetry.
	refreshEvery = 10 * time.Minute
	refreshRetry = time.Minute
)

// errReassemble ends the data plane so that another takes its place: the
// control plane has said something that a running one cannot learn.
var errReassemble = errors.New("the control plane changed what the tunnel is made of")

// about is what the control plane says about us and about the way to agents.
type about struct {
	user client.User
	info client.ConnectionInfo
}

func (t *Tunnel) ask(ctx context.Context, http *http.Client) (about, error) {
	api := client.New(t.config.Profile.URL, t.config.Profile.Token, client.Options{HTTP: http, Header: t.config.Profile.Headers})
	user, err := api.Me(ctx)
	if err != nil {
		return about{}, err
	}
	info, err := api.Connection(ctx)
	return about{user, info}, err
}

// bootstrap asks until there is an answer. Only a tunnel that has never heard
// from this control plane waits for it.
func (t *Tunnel) bootstrap(ctx context.Context, http *http.Client) error {
	kicked := make(chan struct{}, 1)
	t.setKick(func() {
		select {
		case kicked <- struct{}{}:
		default:
		}
	})
	for wait := bootstrapFloor; ; wait = min(2*wait, bootstrapCeiling) {
		got, err := t.ask(ctx, http)
		if err == nil {
			t.mu.Lock()
			t.adopt(got)
			t.mu.Unlock()
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		t.log.Warn("control plane not asked who we are", slog.String("error", err.Error()))
		t.note(func(f *facts) { f.control.err = err; f.control.failures++ })
		pause := wait
		if hopeless(err) {
			pause = signedOutWait
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-kicked:
			timer.Stop()
			wait = bootstrapFloor
		case <-timer.C:
		}
	}
}

// adopt takes an answer into what is kept. It says whether the data plane has
// to be made anew. t.mu is held.
func (t *Tunnel) adopt(got about) (reassemble bool) {
	if t.saved.User.ID != got.user.ID && t.saved.User.ID != (client.User{}).ID {
		// Another user: nothing that was kept is theirs.
		t.saved = fresh(t.config.Profile)
		t.facts.names, t.facts.leftOut = false, nil
		reassemble = true
	}
	reassemble = reassemble || t.saved.Suffix != "" &&
		(t.saved.DisableDirect != got.info.DisableDirect || t.saved.ForceWebsockets != got.info.ForceWebsockets)
	t.saved.TokenSum, t.saved.User = tokenSum(t.config.Profile.Token), got.user
	t.saved.Suffix, t.saved.DisableDirect, t.saved.ForceWebsockets = got.info.HostnameSuffix, got.info.DisableDirect, got.info.ForceWebsockets
	t.saved.Relays.RelayMap = got.info.RelayMap
	return reassemble
}

// refresh asks again while the control connection is up, and ends with
// errReassemble if the answer demands it.
func (s *session) refresh(ctx context.Context) error {
	if s.asked {
		if !pause(ctx, refreshEvery) {
			return nil
		}
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.connected:
		}
		got, err := s.tunnel.ask(ctx, s.http)
		if err != nil {
			if !pause(ctx, refreshRetry) {
				return nil
			}
			s.signal(s.connected)
			continue
		}
		if s.learn(got) {
			return errReassemble
		}
		if !pause(ctx, refreshEvery) {
			return nil
		}
		s.signal(s.connected)
	}
}

// learn takes an answer over into the running tunnel, if that can be done.
func (s *session) learn(got about) (reassemble bool) {
	t := s.tunnel
	t.mu.Lock()
	defer t.mu.Unlock()
	before := t.saved
	if reassemble = t.adopt(got); reassemble {
		return true
	}
	if before.Suffix != t.saved.Suffix || before.User != t.saved.User {
		t.publish()
		s.signal(s.host)
	}
	s.signal(s.dirty)
	return false
}

// pause waits, and says whether the context is still alive.
func pause(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// httpClient is for REST and for the websocket, which needs HTTP/1.1.
func httpClient(config *tls.Config) *http.Client {
	if config != nil {
		config = config.Clone()
	}
	dialer := net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}
	return &http.Client{Transport: &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext, TLSClientConfig: config,
		TLSHandshakeTimeout: 10 * time.Second, IdleConnTimeout: 30 * time.Second, MaxIdleConns: 2,
		TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{},
	}}
}
