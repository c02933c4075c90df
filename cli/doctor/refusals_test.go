package doctor

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/causewayhq/causeway/hosts"
	"github.com/causewayhq/causeway/service"
)

// TestRefusals: each exit code of the daemon has its words, and no more.
func TestRefusals(t *testing.T) {
	const usage = 2
	published := map[int]bool{usage: true}
	for _, point := range service.Failures() {
		code := int(point.Failure)
		published[code] = true
		if known := refusals[code]; known.text != point.Text || known.remedy == "" {
			t.Errorf("exit code %d is %+v, published as %q", code, known, point.Text)
		}
	}
	for code := range refusals {
		if !published[code] {
			t.Errorf("exit code %d is not published", code)
		}
	}
}

func TestLastWords(t *testing.T) {
	const log = `time=2026-01-01 level=INFO msg="starting"
causewayd: open settings: an older one
  remedy: see: causewayd --help
causewayd.service: Main process exited, code=exited, status=10/n/a
time=2026-01-01 level=ERROR msg="something else"
causewayd: open TUN device causeway0: the name is taken by a veth
remedy: rename it
causewayd.service: Main process exited, code=exited, status=13/n/a
causewayd.service: Failed with result 'exit-code'.
`
	if cause, remedy := lastWords(log); cause != "open TUN device causeway0: the name is taken by a veth" || remedy != "rename it" {
		t.Errorf("lastWords() = %q, %q", cause, remedy)
	}
	if got := exitOf(log); got != 13 {
		t.Errorf("exitOf() = %d", got)
	}
	for text, want := range map[string]string{
		"":                             "",
		"a level=ERROR msg=x\nb":       "a level=ERROR msg=x",
		"causewayd: alone":             "alone",
		"u: Failed with result 'oom'.": "",
		"causewayd.service: Failed to locate executable /usr/bin/causewayd: No such file\nu: Failed with result 'exit-code'.": "Failed to locate executable /usr/bin/causewayd: No such file",
	} {
		if cause, remedy := lastWords(text); cause != want || remedy != "" {
			t.Errorf("lastWords(%q) = %q, %q", text, cause, remedy)
		}
	}
	if got := (Ended{}).withLog(log, Unit{Restarts: 1}); got.Exit != 13 || got.Remedy != "rename it" {
		t.Errorf("withLog() = %+v", got)
	}
	if got := (Ended{}).withLog(log, Unit{}); got.Exit != 0 {
		t.Errorf("withLog() of a first start = %+v", got)
	}
}

// TestMarked: the section that the daemon writes is found by its mark.
func TestMarked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hosts")
	if err := os.WriteFile(path, []byte("127.0.0.1 localhost\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if marked(path) || marked(path+"-none") {
		t.Error("a file without our section is marked")
	}
	if err := (hosts.File{Path: path}).Set([]hosts.Entry{{Name: "myws.coder", Addr: netip.MustParseAddr("fd60:627a:a42b::7")}}); err != nil {
		t.Fatal(err)
	}
	if !marked(path) {
		t.Error("our section was not found")
	}
}
