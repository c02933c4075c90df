package suffix

import (
	"errors"
	"testing"
)

func TestCheck(t *testing.T) {
	for _, test := range []struct {
		name string
		ok   bool
	}{
		{"coder", true},
		{"corp", true},
		{"me.coder", true},
		{"dev.example.com", true},
		{"example.com", true},
		{"example.co.uk", true},
		{"coder.dev", true},
		{"coder.local", true},
		{"coder.internal", true},
		{"mylocal", true},
		{"test", true},

		{"com", false},
		{"dev", false},
		{"org", false},
		{"co.uk", false},
		{"uk", false},
		{"xn--p1ai", false},
		{"ck", false},
		{"shop.ck", false},
		{"www.ck", true}, // a registered name in spite of the rule "*.ck"
		{"kobe.jp", false},
		{"shop.kobe.jp", false},

		{"local", false},
		{"internal", false},
		{"localhost", false},
		{"dev.localhost", false},
		{"arpa", false},
		{"home.arpa", false},
		{"10.in-addr.arpa", false},
		{"ip6.arpa", false},
		{"onion", false},
		{"site.onion", false},
	} {
		if err := Check(test.name); (err == nil) != test.ok || err != nil && !errors.Is(err, ErrRefused) {
			t.Errorf("Check(%q) = %v, want ok %t", test.name, err, test.ok)
		}
	}
}
