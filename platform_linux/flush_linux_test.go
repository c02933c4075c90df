package platform

import (
	"strings"
	"testing"
)

// TestFlushNames: resolved's cache is emptied where there is a resolved, and
// nothing else is told.
func TestFlushNames(t *testing.T) {
	needNest(t)
	stubFiles(t)
	bus := startBus(t)
	o, _ := newTestOS(t, t.TempDir(), bus)
	if err := o.FlushNames(t.Context()); err != nil {
		t.Errorf("without resolved: %v", err)
	}
	fake := newFake().start(t, bus)
	if err := o.FlushNames(t.Context()); err != nil {
		t.Error(err)
	}
	same(t, fake.transcript(), "FlushCaches")
	fake.mu.Lock()
	fake.fail["FlushCaches"] = "org.freedesktop.DBus.Error.AccessDenied"
	fake.mu.Unlock()
	if err := o.FlushNames(t.Context()); err == nil || !strings.Contains(err.Error(), "FlushCaches") {
		t.Errorf("refused: %v", err)
	}
}
