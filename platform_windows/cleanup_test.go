package platform

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/causewayhq/causeway/netcfg"
)

// withoutSettings forgets the interface settings, which go with the adapter.
func withoutSettings(text string) string { return without(text, "family 9") }

func journalOf(t *testing.T, o *OS) {
	t.Helper()
	if left := o.journal.Entries(); len(left) != 0 {
		t.Errorf("the journal still lists %v", left)
	}
}

// TestCleanupTwice leaves the host as it was, from the same process, from
// another, and without a journal.
func TestCleanupTwice(t *testing.T) {
	for name, lost := range map[string]bool{"journal": false, "journal lost": true} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			h := parseHost(plainHost)
			apply(t, h.open(t, dir), wanted())
			if lost {
				if err := os.Remove(filepath.Join(dir, journalName)); err != nil {
					t.Fatal(err)
				}
			}
			o := h.open(t, dir)
			for range 2 {
				if err := o.Cleanup(t.Context()); err != nil {
					t.Error(err)
				}
				if got, want := withoutSettings(h.String()), withoutSettings(sortedText(plainHost)); got != want {
					t.Errorf("the host is\n%s\nwant\n%s", got, want)
				}
			}
			journalOf(t, o)
		})
	}
}

// TestApplyNothing is how the tunnel goes down.
func TestApplyNothing(t *testing.T) {
	h := parseHost(plainHost)
	o := h.open(t, t.TempDir())
	apply(t, o, wanted())
	apply(t, o, netcfg.Config{})
	if got, want := withoutSettings(h.String()), withoutSettings(sortedText(plainHost)); got != want {
		t.Errorf("the host is\n%s\nwant\n%s", got, want)
	}
	journalOf(t, o)
}

// TestCleanupWithoutAdapter: it went with the process that made it, its keys and
// the rules did not.
func TestCleanupWithoutAdapter(t *testing.T) {
	dir := t.TempDir()
	h := parseHost(plainHost)
	apply(t, h.open(t, dir), wanted())
	gone := func(text string) string {
		return without(text, "link 9", "family 9", "address 9", "route 9")
	}
	h.lines = parseHost(gone(strings.ReplaceAll(h.String(), "Tcpip-", tcpipInterfaces))).lines
	for i, line := range h.lines {
		h.lines[i] = strings.NewReplacer("Tcpip6-", tcpip6Interfaces, "NetBT-", netbtInterfaces).Replace(line)
	}
	o := h.open(t, dir)
	if err := o.Cleanup(t.Context()); err != nil {
		t.Error(err)
	}
	sameHost(t, h, gone(plainHost))
	journalOf(t, o)
}

// TestHostsSectionIsFound by its markers, when the journal was lost.
func TestHostsSectionIsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		h := parseHost(strings.ReplaceAll(plainHost, "client running", "client stopped"))
		first := h.open(t, dir)
		apply(t, first, wanted())
		synctest.Wait()
		if !strings.Contains(hostsFile(t, dir), "main.dev.me.coder") {
			t.Fatal("no section was written")
		}
		if err := errors.Join(first.Close(), os.Remove(filepath.Join(dir, journalName))); err != nil {
			t.Fatal(err)
		}
		second := h.open(t, dir)
		if err := second.Cleanup(t.Context()); err != nil || hostsFile(t, dir) != foreignHosts {
			t.Errorf("after the cleanup: %v, %q", err, hostsFile(t, dir))
		}
		if err := second.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestForeignValuesStay: what others changed since is not ours any more.
func TestForeignValuesStay(t *testing.T) {
	h := parseHost(plainHost)
	o := h.open(t, t.TempDir())
	apply(t, o, wanted())
	i := h.find("value " + netbtInterfaces + ourGUID + " NetbiosOptions")
	h.lines[i] = "value " + netbtInterfaces + ourGUID + " NetbiosOptions number 1"
	if err := o.Cleanup(t.Context()); err != nil {
		t.Error(err)
	}
	if !strings.Contains(h.String(), "NetBT-OURS NetbiosOptions number 1") {
		t.Error("a value that was not ours any more is gone")
	}
}

// TestCrashAtEveryStep kills the process after each number of steps of Apply.
// Then another applies, or cleans up.
func TestCrashAtEveryStep(t *testing.T) {
	for steps := 0; ; steps++ {
		complete := false
		for _, cleanup := range []bool{false, true} {
			dir := t.TempDir()
			h := parseHost(plainHost)
			n := 0
			h.refuse = func(string) error {
				if n++; n > steps {
					return errDead
				}
				return nil
			}
			complete = h.open(t, dir).Apply(t.Context(), wanted()) == nil
			h.refuse = nil
			next := h.open(t, dir)
			if !cleanup {
				apply(t, next, wanted())
				sameHost(t, h, wantedHost)
				continue
			}
			if err := next.Cleanup(t.Context()); err != nil {
				t.Errorf("after %d steps: %v", steps, err)
			}
			if got, want := withoutSettings(h.String()), withoutSettings(sortedText(plainHost)); got != want {
				t.Errorf("after %d steps the host is\n%s\nwant\n%s", steps, got, want)
			}
			journalOf(t, next)
		}
		if complete {
			t.Logf("%d steps", steps)
			return
		}
	}
}
