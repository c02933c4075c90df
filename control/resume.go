package control

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/causewayhq/causeway/proto/tailnetv2"
)

const (
	// resumeFallback is used when the control plane gives no interval.
	resumeFallback = 30 * time.Minute
	// resumeFloor keeps a control plane gone wrong from being asked in a loop.
	resumeFloor = 10 * time.Second
)

// ResumeToken gives the next connection the same peer id. It is a secret.
type ResumeToken struct {
	Token   string
	Expires time.Time // usable up to and including this instant
}

// LogValue keeps the token out of logs.
func (t ResumeToken) LogValue() slog.Value {
	return slog.GroupValue(slog.Bool("present", t.Token != ""), slog.Time("expires", t.Expires))
}

// String keeps the token out of messages.
func (t ResumeToken) String() string { return "[redacted]" }

// GoString keeps the token out of messages.
func (t ResumeToken) GoString() string { return t.String() }

// resumeStore holds the token across connections.
type resumeStore struct {
	mu         sync.Mutex
	token      ResumeToken
	omit       bool // the control plane refused it: the next dial goes without
	generation int  // of the newest refresher; older ones may not write
	changed    func(ResumeToken)
}

// usable is the token for a dial now, or nothing.
func (r *resumeStore) usable(now time.Time) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.omit || now.After(r.token.Expires) {
		return ""
	}
	return r.token.Token
}

// dialed learns from the outcome of a dial.
func (r *resumeStore) dialed(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var refused *DialError
	switch {
	case err == nil:
		r.omit = false
	case errors.As(err, &refused):
		if refused.has("resume_token") {
			r.omit = true
		}
	}
}

func (r *resumeStore) begin() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.generation++
	return r.generation
}

// set keeps a token, unless a newer refresher has begun.
func (r *resumeStore) set(generation int, token ResumeToken) {
	r.mu.Lock()
	current := r.generation == generation
	if current {
		r.token = token
	}
	r.mu.Unlock()
	if current && r.changed != nil {
		r.changed(token)
	}
}

// refresher fetches tokens on one connection.
type refresher struct {
	store  *resumeStore
	client tailnetv2.Client23
	ended  func() error // of the connection
	log    *slog.Logger
}

func (r *refresher) run(ctx context.Context) {
	generation := r.store.begin()
	for {
		response, err := r.client.RefreshResumeToken(ctx, &tailnetv2.RefreshResumeTokenRequest{})
		switch {
		case err != nil && (ctx.Err() != nil || r.ended() != nil):
			return
		case Unimplemented(err):
			r.store.set(generation, ResumeToken{})
			return
		case err != nil:
			r.log.Warn("resume token not refreshed", slog.String("error", err.Error()))
			return
		}
		r.store.set(generation, ResumeToken{Token: response.GetToken(), Expires: response.GetExpiresAt().AsTime()})
		wait := response.GetRefreshIn().AsDuration()
		if wait <= 0 {
			wait = resumeFallback
		}
		wait = max(wait, resumeFloor)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}
