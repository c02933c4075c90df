package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/causewayhq/causeway/server/store"
)

// TestPresenceNote: why it is not known who is connected is said in short, and
// the remedy is one that these commands have.
func TestPresenceNote(t *testing.T) {
	r := newReporting(t)
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	dead, run := "http://"+deadAddress(t), "; start it: causeway-server --data-dir "+r.dir+" run\n"
	for _, test := range []struct{ url, want string }{
		{"", "the server has never run here" + run},
		{dead, "no server answers at " + dead + " (connection refused)" + run},
		{other.URL, "ask " + other.URL + "/api/v2/debug/coordinator: HTTP 404; is that the server of this --data-dir?\n"},
	} {
		if err := r.store.SetSetting(t.Context(), store.SettingAccessURL, test.url); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{{"agent", "list", "--data-dir", r.dir}, r.args("status")} {
			out := ok(t, args...)
			if _, note, _ := strings.Cut(out, "\nWho is connected is not known: "); note != test.want || strings.Contains(out, "--url") {
				t.Errorf("%v with %q: %q, want %q", args, test.url, note, test.want)
			}
		}
	}
}

func TestShortCause(t *testing.T) {
	late := &url.Error{Op: "Get", URL: "http://x/y", Err: context.DeadlineExceeded}
	for _, test := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("ask the server: %w", late), "not within 2s"},
		{&url.Error{Op: "Get", URL: "http://x/y", Err: errors.New("bad certificate")}, "bad certificate"},
		{errors.New("other"), "other"},
	} {
		if got := shortCause(test.err).Error(); got != test.want {
			t.Errorf("%v: %q, want %q", test.err, got, test.want)
		}
	}
}
