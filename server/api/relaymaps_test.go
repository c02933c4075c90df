package api

import (
	"context"
	"encoding/json"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/causewayhq/causeway/proto"
)

// TestOldRelayMapRoute: a map at once in JSON, another when it has changed, and
// the end when there is none; it ends with the token as well.
func TestOldRelayMapRoute(t *testing.T) {
	r := newRig(t)
	alice := r.person("alice")
	var current atomic.Pointer[proto.RelayMap]
	set := func(relays proto.RelayMap) { current.Store(&relays) }
	set(testMap())
	r.api.config.RelayMap = func() proto.RelayMap { return *current.Load() }
	r.api.service.RelayMapPeriod = 20 * time.Millisecond
	conn, _, err := r.dial("/api/v2/derp-map", alice.token)
	if err != nil {
		t.Fatal(err)
	}
	host := func() string {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		kind, message, err := conn.Read(ctx)
		if err != nil || kind != websocket.MessageBinary {
			t.Fatalf("%v message, %v", kind, err)
		}
		var got struct {
			Regions map[string]struct {
				EmbeddedRelay bool
				Nodes         []struct{ HostName string }
			}
		}
		if err := json.Unmarshal(message, &got); err != nil || len(got.Regions["999"].Nodes) != 1 || !got.Regions["999"].EmbeddedRelay {
			t.Fatalf("%s: %v", message, err)
		}
		return got.Regions["999"].Nodes[0].HostName
	}
	if got := host(); got != "causeway.example.com" {
		t.Errorf("first map has %s", got)
	}
	changed := testMap()
	changed.Regions[999].Nodes[0].HostName = "elsewhere.example.com"
	set(changed)
	if got := host(); got != "elsewhere.example.com" {
		t.Errorf("second map has %s", got)
	}
	set(proto.RelayMap{})
	if code, _ := closeStatus(t, conn); code != websocket.StatusNormalClosure {
		t.Errorf("without a map closed with %v", code)
	}
	set(testMap())
	if conn, _, err = r.dial("/api/v2/derp-map", alice.token); err != nil {
		t.Fatal(err)
	}
	if err := r.store.RevokeToken(t.Context(), alice.tokenID); err != nil {
		t.Fatal(err)
	}
	if code, reason := closeStatus(t, conn); code != websocket.StatusGoingAway || reason != errTokenEnded.Text {
		t.Errorf("revoked: closed with %v %q", code, reason)
	}
	if _, response, err := r.dial("/api/v2/derp-map", alice.token); err == nil || response.StatusCode != 401 {
		t.Errorf("dialled again: %v, %v", response, err)
	}
}
