package connections

import (
	"net"
	"strings"
	"testing"
	"unicode/utf8"
)

type named string

func (named) Network() string { return "test" }

func (n named) String() string { return string(n) }

func TestAddress(t *testing.T) {
	for text, want := range map[string]string{
		"localhost:22": "127.0.0.1", "localhost": "127.0.0.1", "10.0.0.1:5": "10.0.0.1", "10.0.0.1": "10.0.0.1",
		"[fe80::1%eth0]:5": "fe80::1", "fe80::1%eth0": "fe80::1", "[::ffff:10.0.0.1]:5": "10.0.0.1", "::1": "::1",
		"pipe": "", "": "", "@": "", "host:5": "", "/run/socket": "",
	} {
		if got := address(named(text)); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	if got := address(nil); got != "" {
		t.Errorf("nil: got %q", got)
	}
}

func TestReasonCanBeSent(t *testing.T) {
	for _, reason := range []string{"\xff\xfe broken", strings.Repeat("é", maxReason)} {
		got := clean(reason)
		if !utf8.ValidString(got) || len(got) > maxReason || len(got) < min(len(reason), maxReason)-2 {
			t.Errorf("%d bytes became %d: %.20q", len(reason), len(got), got)
		}
	}
}

func FuzzAddress(f *testing.F) {
	for _, seed := range []string{"localhost:22", "[fe80::1%eth0]:5", "::ffff:1.2.3.4", ":", "]:"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if got := address(named(text)); got != "" && net.ParseIP(got) == nil {
			t.Errorf("%q became %q", text, got)
		}
	})
}
