package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

type keyList struct {
	Keys []struct {
		ID    string
		Signs bool
	}
}

func listKeys(t *testing.T, args ...string) keyList {
	t.Helper()
	var found keyList
	output := ok(t, args...)
	if err := json.Unmarshal([]byte(output), &found); err != nil {
		t.Fatalf("%v in %s", err, output)
	}
	if strings.Contains(output, "secret") {
		t.Errorf("shown: %s", output)
	}
	return found
}

// TestTokensAreNotLed: an answer that leads elsewhere is not followed, or the
// administrator's token would go along.
func TestTokensAreNotLed(t *testing.T) {
	dir := t.TempDir()
	if got := cli(t, nil, "user", "create", "alice", "--create", "--data-dir", dir); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	var asked, led atomic.Int32
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { led.Add(1) }))
	defer elsewhere.Close()
	leads := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		http.Redirect(w, r, strings.Replace(elsewhere.URL, "127.0.0.1", "localhost", 1), http.StatusFound)
	}))
	defer leads.Close()
	if got := cli(t, nil, "debug", "peers", "--data-dir", dir, "--url", leads.URL); got.code == 0 || !strings.Contains(got.stderr, "302") {
		t.Errorf("%+v", got)
	}
	if asked.Load() != 1 || led.Load() != 0 {
		t.Errorf("asked %d times, and %d times elsewhere", asked.Load(), led.Load())
	}
}

// TestDebugAndResumeKeys uses both beside a running server.
func TestDebugAndResumeKeys(t *testing.T) {
	dir := t.TempDir()
	if got := cli(t, nil, "user", "create", "alice", "--create", "--data-dir", dir); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	server := start(t, dir)
	if output := ok(t, "debug", "peers", "--data-dir", dir); !strings.HasPrefix(output, "NAME") || !strings.Contains(output, "0 peers, 0 tunnels") {
		t.Errorf("peers: %s", output)
	}
	var found struct {
		Peers      []any
		Overwrites *int
		Version    int
	}
	if err := json.Unmarshal([]byte(ok(t, "debug", "peers", "--data-dir", dir, "--json")), &found); err != nil || found.Peers == nil || found.Overwrites == nil || found.Version != 1 {
		t.Errorf("peers in JSON: %+v, %v", found, err)
	}
	noneLeft := func(after string) {
		t.Helper()
		if output := ok(t, "token", "list", "alice", "--data-dir", dir); strings.Count(output, "\n") != 2 || strings.Contains(output, "debug") {
			t.Errorf("%s a token is left: %s", after, output)
		}
	}
	noneLeft("after two answers")

	first := listKeys(t, "resume-key", "list", "--data-dir", dir, "--json")
	if len(first.Keys) != 1 || !first.Keys[0].Signs {
		t.Fatalf("first keys: %+v", first)
	}
	second := listKeys(t, "resume-key", "rotate", "--data-dir", dir, "--json")
	if len(second.Keys) != 2 || second.Keys[1].ID != first.Keys[0].ID || !second.Keys[0].Signs || second.Keys[1].Signs {
		t.Errorf("rotated keys: %+v", second)
	}
	third := listKeys(t, "resume-key", "rotate", "--drop-old", "--data-dir", dir, "--json")
	if len(third.Keys) != 1 || third.Keys[0].ID == second.Keys[0].ID {
		t.Errorf("dropped keys: %+v", third)
	}
	if output := ok(t, "resume-key", "list", "--data-dir", dir); !strings.Contains(output, third.Keys[0].ID) || !strings.Contains(output, "signs and verifies") {
		t.Errorf("table: %s", output)
	}

	server.stop()
	if got := cli(t, nil, "debug", "peers", "--data-dir", dir); got.code != exitNotRunning {
		t.Errorf("without a server: %+v", got)
	}
	noneLeft("after an error")
	if got := cli(t, nil, "debug", "peers", "--data-dir", t.TempDir()); got.code != exitNotFound {
		t.Errorf("without a database: %+v", got)
	}
}
