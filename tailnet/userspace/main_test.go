package userspace_test

import (
	"io"
	"log"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// Upstream's STUN server speaks to the global logger.
	log.SetOutput(io.Discard)
	goleak.VerifyTestMain(m)
}
