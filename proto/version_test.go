package proto

import (
	"errors"
	"testing"
)

func TestParseVersion(t *testing.T) {
	for text, want := range map[string]Version{"2.0": {2, 0}, "2.3": {2, 3}, "10.11": {10, 11}} {
		t.Run(text, func(t *testing.T) {
			got, err := ParseVersion(text)
			if err != nil || got != want || got.String() != text {
				t.Errorf("ParseVersion(%q) = %v, %v; want %v", text, got, err, want)
			}
		})
	}
	for name, text := range map[string]string{
		"empty": "", "no dot": "2", "no minor": "2.", "no major": ".3", "two dots": "2.3.4", "letters": "a.b", "hex": "0x2.0", "underscore": "2_0.0",
		"negative": "-2.0", "signed": "+2.0", "negative minor": "2.-1", "blank": " 2.0", "too large": "2.99999999999",
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := ParseVersion(text); !errors.Is(err, ErrVersion) {
				t.Errorf("ParseVersion(%q) = %v, %v; want a version error", text, got, err)
			}
		})
	}
}

// TestAccepts has a row for each rule of the negotiation (docs of the protocol, 1.3).
func TestAccepts(t *testing.T) {
	server := Version{2, 3}
	for name, test := range map[string]struct {
		requested Version
		older     []int
		want      string
	}{
		"same":                       {Version{2, 3}, nil, ""},
		"lower minor":                {Version{2, 0}, nil, ""},
		"higher minor":               {Version{2, 4}, nil, "server is at version 2.3, behind requested minor version 2.4: unsupported API version"},
		"higher major":               {Version{3, 0}, nil, "server is at version 2.3, behind requested major version 3.0: unsupported API version"},
		"older major":                {Version{1, 9}, nil, "version 1.9 is no longer supported: unsupported API version"},
		"older major on the list":    {Version{1, 9}, []int{0, 1}, ""},
		"older major not on it":      {Version{1, 0}, []int{0}, "version 1.0 is no longer supported: unsupported API version"},
		"list does not lift a minor": {Version{2, 4}, []int{2}, "server is at version 2.3, behind requested minor version 2.4: unsupported API version"},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			if err := server.Accepts(test.requested, test.older...); err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("%v.Accepts(%v) = %q, want %q", server, test.requested, got, test.want)
			}
		})
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
