package limit

import (
	"net/http/httptest"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func TestMeter(t *testing.T) {
	m := NewMeter[string](3, 10*time.Second, 100)
	at := start
	for i := range 3 {
		if wait := m.Take("a", at); wait != 0 {
			t.Fatalf("attempt %d is to wait %s", i, wait)
		}
	}
	if wait := m.Take("a", at.Add(time.Second)); wait != 9*time.Second {
		t.Errorf("the fourth is to wait %s", wait)
	}
	if wait := m.Take("b", at); wait != 0 {
		t.Errorf("another is to wait %s", wait)
	}
	// Attempts that are refused cost nothing: whoever hammers is not locked out.
	for range 1000 {
		m.Take("a", at.Add(5*time.Second))
	}
	at = at.Add(10 * time.Second)
	if wait := m.Wait("a", at); wait != 0 {
		t.Errorf("after the time it was told: %s more", wait)
	}
	if wait := m.Take("a", at); wait != 0 {
		t.Errorf("after the time it was told: %s more", wait)
	}
	if wait := m.Take("a", at); wait != 10*time.Second {
		t.Errorf("one in each interval: %s", wait)
	}
	m.Return("a")
	if wait := m.Take("a", at); wait != 0 {
		t.Errorf("one was given back: %s", wait)
	}
	// However long nobody came, there is one burst and no more.
	at = at.Add(24 * time.Hour)
	for range 3 {
		m.Take("a", at)
	}
	if wait := m.Take("a", at); wait != 10*time.Second {
		t.Errorf("more than a burst after a day: %s", wait)
	}
}

// TestMeterIsBounded: a flood of keys takes bounded memory, and frees nobody who
// has used much.
func TestMeterIsBounded(t *testing.T) {
	m := NewMeter[int](3, time.Minute, 100)
	for range 3 {
		m.Take(-1, start)
	}
	for key := range 10_000 {
		m.Take(key, start)
	}
	if len(m.full) > 100 {
		t.Errorf("%d keys", len(m.full))
	}
	if m.Take(-1, start) == 0 {
		t.Error("the flood freed one that had used its attempts")
	}
	if m.Take(20_000, start.Add(time.Hour)); len(m.full) > 100 {
		t.Errorf("%d keys", len(m.full))
	}
}

func TestAddress(t *testing.T) {
	for from, want := range map[string]string{
		"192.0.2.7:80": "192.0.2.7/32", "[::ffff:192.0.2.7]:80": "192.0.2.7/32",
		"[2001:db8:1:2:3::4]:80": "2001:db8:1:2::/64", "[fe80::1%eth0]:80": "fe80::/64", "nonsense": "invalid Prefix",
	} {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
		r.RemoteAddr = from
		if got := Address(r).String(); got != want {
			t.Errorf("%s: %s, want %s", from, got, want)
		}
	}
}
