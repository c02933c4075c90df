package relaybridge

import (
	"testing"
	"time"
)

// The bridge knows whether a connection to a region stands: upstream does not
// tell.
func TestCarries(t *testing.T) {
	relay := startRelay(t, relayOptions{})
	told := make(chan bool, 8)
	b := startBridge(t, Config{Carried: func() { told <- true }})
	relays := b.Rewrite(relay.relayMap(true, true))
	stands := func(want bool, changes int) {
		t.Helper()
		for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
			bridged, got := b.Carries(3)
			if !bridged {
				t.Fatal("the region is not bridged")
			}
			if got == want {
				if len(told) != changes {
					t.Fatalf("told of %d changes, want %d", len(told), changes)
				}
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("a connection stands: %v, want %v", got, want)
			}
		}
	}
	stands(false, 0)
	client, _, err := connect(t, relays)
	if err != nil {
		t.Fatal(err)
	}
	stands(true, 1)
	client.Close()
	stands(false, 2)
	if bridged, _ := b.Carries(4); bridged {
		t.Error("a region that the map does not have is bridged")
	}
}
