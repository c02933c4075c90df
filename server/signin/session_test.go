package signin

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/causewayhq/causeway/server/store"
)

// TestNextIsAPageOfOurs holds which pages a sign-in leads back to.
func TestNextIsAPageOfOurs(t *testing.T) {
	id := "?reconnect=3f1b2c4d-0000-4000-8000-000000000001"
	for next, want := range map[string]string{
		"/@alice/myws": "/@alice/myws", "/@alice/my_ws.main/terminal" + id: "/@alice/my_ws.main/terminal" + id, "/@me/x/terminal": "/@me/x/terminal",
		"/@alice": "/", "/@alice/": "/", "/@alice//evil.example.com": "/", "//evil.example.com/@a/b": "/", "/@alice/x/../../login": "/", "/@a/b/terminal/state": "/",
		"https://evil.example.com/@a/b": "/", "/\\evil.example.com": "/", "/@evil.example.com/x": "/", "/@a/b\r\nX: y": "/", "/@a/b.c.d": "/",
		"/@alice/x/terminal?reconnect=1&reconnect=2": "/@alice/x/terminal", "/@a/" + strings.Repeat("b", 64): "/",
	} {
		if got := safeNext(next); got != want {
			t.Errorf("%q leads to %q, want %q", next, got, want)
		}
	}
}

// TestSession holds that a session is found by its cookie alone.
func TestSession(t *testing.T) {
	r := newRig(t, tlsURL)
	user := r.user("alice")
	proof, err := r.store.AuthenticatePassword(t.Context(), "alice", goodPassword)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := r.store.CreateSession(t.Context(), proof)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(name, value string) (store.Proof, string, error) {
		request := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
		request.AddCookie(&http.Cookie{Name: name, Value: value})
		return r.server.Session(request)
	}
	found, same, err := ask("__Host-causeway_session", secret.Reveal())
	if err != nil || found.User.ID != user.ID || same != secret.Reveal() {
		t.Errorf("%v, %v", found.User, err)
	}
	live, err := r.store.LiveSessions(t.Context())
	if _, there := live[store.SessionID(same)]; err != nil || !there || len(live) != 1 || strings.Contains(store.SessionID(same), same) {
		t.Errorf("live sessions %v, %v", live, err)
	}
	for name, value := range map[string]string{"causeway_session": same, "__Host-causeway_form": same, "__Host-causeway_session": same[1:] + "x"} {
		if _, _, err := ask(name, value); !errors.Is(err, ErrNoSession) || !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := r.store.EndSession(t.Context(), same); err != nil {
		t.Fatal(err)
	}
	if live, err := r.store.LiveSessions(t.Context()); err != nil || len(live) != 0 {
		t.Errorf("after the end %v, %v", live, err)
	}
	r.store.Close()
	if _, _, err := ask("__Host-causeway_session", same); err == nil || errors.Is(err, ErrNoSession) {
		t.Errorf("without a database: %v", err)
	}
}

// TestHomeListsWorkspaces holds that people find their workspaces, and nobody else's.
func TestHomeListsWorkspaces(t *testing.T) {
	r := newRig(t, plainURL)
	for _, name := range []string{"alice", "bob"} {
		if _, err := r.store.CreateWorkspace(t.Context(), r.user(name), "of-"+name); err != nil {
			t.Fatal(err)
		}
	}
	stranger := r.browser("192.0.2.1:1")
	stranger.head = http.Header{"Accept": {"text/html"}}
	if page := stranger.get("/"); page.status != http.StatusOK || strings.Contains(page.body, "of-alice") {
		t.Errorf("without a sign-in: %d %s", page.status, page.body)
	}
	alice := r.signIn("alice", "192.0.2.1:2")
	alice.head = http.Header{"Accept": {"text/html"}}
	if page := alice.get("/"); !strings.Contains(page.body, `href="/@alice/of-alice"`) || strings.Contains(page.body, "of-bob") {
		t.Errorf("home: %s", page.body)
	}
}
