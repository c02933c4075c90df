package httpapi

import (
	"slices"
	"testing"
)

// TestWindowsPaths: a path begins at a drive, and no element is a device, another
// stream of a file, or a way up.
func TestWindowsPaths(t *testing.T) {
	for _, path := range [][]string{
		{"C"}, {`C:\Users`}, {`\\server\share`}, {"..", "C:"}, {"1:"}, {"CC:"}, {`C:\`, ".."}, {`C:\`, `a\..\..`}, {`C:\`, "a/b"}, {`C:\`, "D:"},
		{`C:\`, "file:stream"}, {`C:\`, "NUL"}, {`C:\`, "COM1"}, {`C:\`, "a*"}, {`C:\`, ""}, {`C:\`, "a\x00"}, {`\\?\C:\`}, {`\\.\PhysicalDrive0`},
	} {
		if got, err := fromRoot(path); err == nil {
			t.Errorf("%q is %q", path, got)
		}
	}
	for want, path := range map[string][]string{"": nil, `C:\`: {"C:"}, `c:\`: {`c:\`}, `C:\Program Files\x`: {`C:\`, "Program Files", "x"}} {
		got, err := fromRoot(path)
		if err != nil || got != want {
			t.Errorf("%q is %q, %v, want %q", path, got, err, want)
		}
	}
	if got, want := split(`C:\Program Files\x`), []string{`C:\`, "Program Files", "x"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, err := drives(); err != nil || !slices.ContainsFunc(got.Contents, func(e entry) bool { return e.Name == `C:\` && e.IsDir }) {
		t.Errorf("drives are %+v, %v", got, err)
	}
	if got, err := list(listRequest{Relativity: "root", Path: []string{`C:\`}}); err != nil || got.AbsolutePathString != `C:\` || !slices.Equal(got.AbsolutePath, []string{`C:\`}) {
		t.Errorf("C: is %+v, %v", got, err)
	}
}
