package banners

import (
	"testing"
	"time"
)

// TestNumbers are the protocol's (5.6).
func TestNumbers(t *testing.T) {
	if refresh != 2*time.Minute {
		t.Errorf("asked for each %s", refresh)
	}
}
