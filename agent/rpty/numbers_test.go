package rpty

import (
	"testing"
	"time"
)

// TestNumbers are the protocol's (5.2).
func TestNumbers(t *testing.T) {
	if DefaultIdle != 5*time.Minute || attachLimit != 30*time.Second {
		t.Errorf("idle %s, attach %s", DefaultIdle, attachLimit)
	}
}
