package proto

import (
	"errors"
	"testing"
)

func TestParseVersion(t *testing.T) {
	for text, want := range map[string]Version{"2.0": {2, 0}, "2.3": {2, 3}, "10.11": {10, 11}} {
		got, err := ParseVersion(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("ParseVersion(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "2", "2.", ".3", "2.3.4", "a.b", "-2.0", "+2.0", "2.-1", " 2.0", "2.99999999999"} {
		if got, err := ParseVersion(text); !errors.Is(err, ErrVersion) {
			t.Errorf("ParseVersion(%q) = %v, %v; want a version error", text, got, err)
		}
	}
}

func TestAccepts(t *testing.T) {
	server := Version{2, 3}
	for requested, want := range map[Version]string{
		{2, 0}: "", {2, 3}: "",
		{2, 4}: "server is at version 2.3, behind requested minor version 2.4: unsupported API version",
		{3, 0}: "server is at version 2.3, behind requested major version 3.0: unsupported API version",
		{1, 9}: "version 1.9 is no longer supported: unsupported API version",
	} {
		got := ""
		if err := server.Accepts(requested); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%v.Accepts(%v) = %q, want %q", server, requested, got, want)
		}
	}
}

func FuzzParseVersion(f *testing.F) {
	for _, seed := range []string{"2.0", "2.11", "", ".", "2.0.0"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		version, err := ParseVersion(text)
		if err != nil {
			return
		}
		again, err := ParseVersion(version.String())
		if err != nil || again != version {
			t.Errorf("%q reads as %v, which reads as %v, %v", text, version, again, err)
		}
	})
}
