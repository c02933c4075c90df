package tunnel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"

	"github.com/causewayhq/causeway/client"
	"github.com/causewayhq/causeway/control"
)

// headers are what goes with every request: what the profile has, and what its
// source gives, which is asked before the first request and after each refusal.
type headers struct {
	fixed  http.Header
	source func(context.Context) (http.Header, error) // nil: there is none
	log    *slog.Logger

	present atomic.Pointer[http.Header] // both together; nil: never known

	asking sync.Mutex  // held while the source is asked
	stale  atomic.Bool // a request was refused since
}

func newHeaders(profile Profile, log *slog.Logger) *headers {
	h := &headers{fixed: profile.Headers, source: profile.HeaderSource, log: log}
	if h.source == nil {
		h.present.Store(&h.fixed)
	}
	return h
}

// now are the headers as they are known; it does not block.
func (h *headers) now() http.Header {
	if present := h.present.Load(); present != nil {
		return *present
	}
	return h.fixed
}

// get asks the source if that is due. A refusal that comes while it is asked
// has it asked again.
func (h *headers) get(ctx context.Context) (http.Header, error) {
	if h.source == nil {
		return h.fixed, nil
	}
	h.asking.Lock()
	defer h.asking.Unlock()
	if present := h.present.Load(); present != nil && !h.stale.Load() {
		return *present, nil
	}
	h.stale.Store(false)
	more, err := h.source(ctx)
	if err != nil {
		h.stale.Store(true)
		return nil, fmt.Errorf("get headers: %w", err)
	}
	all := http.Header{}
	maps.Copy(all, h.fixed)
	maps.Copy(all, more)
	h.present.Store(&all)
	h.log.Debug("headers renewed", slog.Int("count", len(more)))
	return all, nil
}

// heard notes how a request ended.
func (h *headers) heard(err error) {
	if refused(err) {
		h.stale.Store(true)
	}
}

// refused says that somebody answered, and would not have the request: the
// control plane, or what stands before it.
func refused(err error) bool {
	var dial *control.DialError
	var rest *client.Error
	switch {
	case errors.As(err, &dial):
		return dial.Status < http.StatusInternalServerError
	case errors.As(err, &rest):
		return rest.Status < http.StatusInternalServerError
	}
	// A page to sign in at came back in place of an answer.
	return errors.Is(err, client.ErrNotControlPlane)
}

// proxy chooses the proxy for a request to the control plane or a relay.
func (p Profile) proxy() func(*http.Request) (*url.URL, error) {
	if p.Proxy == nil {
		return http.ProxyFromEnvironment
	}
	return http.ProxyURL(p.Proxy)
}
