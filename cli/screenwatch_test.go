package cli

import (
	"bytes"
	"testing"
)

// TestScreenWatch: the alternate screen is left only when it is on, however the
// bytes come.
func TestScreenWatch(t *testing.T) {
	for output, on := range map[string]bool{
		"": false, "text": false, "\x1b[?1049h": true, "\x1b[?1049h\x1b[?1049l": false, "\x1b[?25;1049hx": true, "\x1b[?47h": true, "\x1b[?1047h\x1b[?25l": true,
		"\x1b[1049h": false, "\x1b[?1049": false, "\x1b[?1049\x1b[?25h": false, "\x1b[?10490h": false, "\x1b[?1049s": false, "\x1b[?1049h\x1b[?1l": true, "[?1049h": false,
		"\x1b[?99999999999999999999;1049h": true,
	} {
		for _, size := range []int{1, 2, 1 << 10} {
			var shown bytes.Buffer
			watch := &screenWatch{to: &shown}
			for rest := []byte(output); len(rest) > 0; rest = rest[min(size, len(rest)):] {
				if _, err := watch.Write(rest[:min(size, len(rest))]); err != nil {
					t.Fatal(err)
				}
			}
			if shown.String() != output || (watch.leave() != "") != on {
				t.Errorf("%q by %d: passed on %q, leaves by %q", output, size, shown.String(), watch.leave())
			}
		}
	}
}
