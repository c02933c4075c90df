package relaybridge

import (
	"testing"
	"time"
)

// The bridge knows whether a connection to a region stands: upstream does not
// tell.
func TestCarries(t *testing.T) {
	relay := startRelay(t, relayOptions{})
	b := startBridge(t, Config{})
	relays := b.Rewrite(relay.relayMap(true, true))
	stands := func(want bool) {
		t.Helper()
		for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
			bridged, got := b.Carries(3)
			if !bridged {
				t.Fatal("the region is not bridged")
			}
			if got == want {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("a connection stands: %v, want %v", got, want)
			}
		}
	}
	stands(false)
	client, _, err := connect(t, relays)
	if err != nil {
		t.Fatal(err)
	}
	stands(true)
	client.Close()
	stands(false)
	if bridged, _ := b.Carries(4); bridged {
		t.Error("a region that the map does not have is bridged")
	}
}
