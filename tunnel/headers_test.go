package tunnel

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"testing"

	"github.com/causewayhq/causeway/client"
	"github.com/causewayhq/causeway/control"
)

// TestHeaderSourceIsAskedAfterRefusals: once before the first request, again
// after each refusal, and not when nobody answered.
func TestHeaderSourceIsAskedAfterRefusals(t *testing.T) {
	asked, fails := 0, error(nil)
	h := newHeaders(Profile{
		Headers: http.Header{"X-Fixed": {"a"}, "X-Both": {"fixed"}},
		HeaderSource: func(context.Context) (http.Header, error) {
			asked++
			return http.Header{"X-Both": {"fresh"}}, fails
		},
	}, slog.New(slog.DiscardHandler))
	if got := h.now(); got.Get("X-Both") != "fixed" {
		t.Errorf("before the first request: %v", got)
	}
	for range 3 {
		got, err := h.get(t.Context())
		if err != nil || got.Get("X-Fixed") != "a" || got.Get("X-Both") != "fresh" || asked != 1 {
			t.Fatalf("get() = %v, %v after %d questions", got, err, asked)
		}
	}
	if h.now().Get("X-Both") != "fresh" {
		t.Error("relays get the old ones")
	}
	for _, test := range []struct {
		name string
		err  error
		asks bool
	}{
		{"no error", nil, false},
		{"not reached", errors.New("connection refused"), false},
		{"broken server", &client.Error{Status: 502}, false},
		{"refused request", &client.Error{Status: 403}, true},
		{"refused dial", &control.DialError{Status: 401}, true},
		{"page to sign in at", client.ErrNotControlPlane, true},
	} {
		before := asked
		h.heard(test.err)
		if _, err := h.get(t.Context()); err != nil || (asked > before) != test.asks {
			t.Errorf("%s: asked %d times, %v", test.name, asked-before, err)
		}
	}
	fails = errors.New("no")
	h.heard(&client.Error{Status: 403})
	for range 2 {
		if _, err := h.get(t.Context()); !errors.Is(err, fails) {
			t.Errorf("get() of a source that fails: %v", err)
		}
	}
	none := newHeaders(Profile{Headers: http.Header{"X": {"y"}}}, slog.New(slog.DiscardHandler))
	none.heard(&client.Error{Status: 403})
	if got, err := none.get(t.Context()); err != nil || got.Get("X") != "y" {
		t.Errorf("without a source: %v, %v", got, err)
	}
}
