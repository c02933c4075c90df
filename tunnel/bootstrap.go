package tunnel

import (
	"context"
	"log/slog"
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

// about is what the control plane says about us and about the way to agents.
type about struct {
	user client.User
	info client.ConnectionInfo
}

// reassembly ends the data plane so that another takes its place: the control
// plane has said something that a running one cannot learn. It is taken over
// only when the old one has gone, so that nothing that the old one still hears
// or saves is put down to another user.
type reassembly struct{ got about }

func (*reassembly) Error() string { return "the control plane changed what the tunnel is made of" }

func (t *Tunnel) ask(ctx context.Context, http *http.Client) (about, error) {
	headers, err := t.headers.get(ctx)
	if err != nil {
		return about{}, err
	}
	api := client.New(t.config.Profile.URL, t.presentToken(), client.Options{HTTP: http, Header: headers})
	user, err := api.Me(ctx)
	t.headers.heard(err)
	if err != nil {
		return about{}, err
	}
	info, err := api.Connection(ctx)
	t.headers.heard(err)
	return about{user, info}, err
}

// bootstrap asks until there is an answer. Only a tunnel that has never heard
// from this control plane waits for it.
func (t *Tunnel) bootstrap(ctx context.Context, http *http.Client) error {
	kicked := make(chan struct{}, 1)
	t.setKick(func() {
		http.CloseIdleConnections()
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
		t.note(func(f *facts) { f.control.reported(false, err, time.Now()) })
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

// adopt takes an answer into what is kept; t.mu is held. No data plane may run
// if it is one that demands another.
func (t *Tunnel) adopt(got about) {
	if t.saved.ofAnother(got.user) {
		// Nothing that was kept is theirs.
		t.saved = fresh(t.profile())
		t.addresses.restore(nil)
		t.facts.names, t.facts.leftOut = false, nil
	}
	t.saved.TokenSum, t.saved.User = tokenSum(t.token), got.user
	t.saved.Suffix, t.saved.DisableDirect, t.saved.ForceWebsockets = got.info.HostnameSuffix, got.info.DisableDirect, got.info.ForceWebsockets
	t.saved.Relays.RelayMap = got.info.RelayMap
}

// ofAnother says whether what is kept is of another user than this one.
func (k saved) ofAnother(user client.User) bool {
	return k.User.ID != (client.User{}).ID && k.User.ID != user.ID
}

// demandsAnother says whether the running data plane cannot take an answer in.
func (k saved) demandsAnother(got about) bool {
	return k.ofAnother(got.user) || k.DisableDirect != got.info.DisableDirect || k.ForceWebsockets != got.info.ForceWebsockets
}

// refresh asks again while the control connection is up, and ends with a
// *reassembly if the answer demands it.
func (s *session) refresh(ctx context.Context) error {
	if s.asked && !pause(ctx, refreshEvery) {
		return nil
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.connected:
		}
		got, err := s.tunnel.ask(ctx, s.http)
		if err != nil {
			// Only a failure is tried again at once when the network changes.
			s.again(ctx, refreshRetry)
			continue
		}
		if s.learn(got) {
			return &reassembly{got}
		}
		if !pause(ctx, refreshEvery) {
			return nil
		}
		s.signal(s.connected)
	}
}

// again lets refresh ask after a while, or at the next kick, or when the
// control connection comes back.
func (s *session) again(ctx context.Context, wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-s.kicked:
	case <-s.connected:
	}
	s.signal(s.connected)
}

// learn takes an answer over into the running tunnel, if that can be done.
func (s *session) learn(got about) (reassemble bool) {
	t := s.tunnel
	t.mu.Lock()
	defer t.mu.Unlock()
	before := t.saved
	if before.demandsAnother(got) {
		return true
	}
	t.adopt(got)
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
