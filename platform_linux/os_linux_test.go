package platform

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/causewayhq/causeway/netcfg"
)

func TestApplyAndClear(t *testing.T) {
	needNest(t)
	plainFiles(t)
	o, log := newTestOS(t, t.TempDir(), "")
	openTUN(t, "cwtest0")
	before := snapshot(t)
	want := testConfig("cwtest0")
	if err := o.Apply(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	if got := o.DNSMode(); got != ModeHosts {
		t.Errorf("mode %q", got)
	}
	addresses := ip(t, "addr", "show", "dev", "cwtest0")
	mustContain(t, addresses, "inet6 "+testAddress)
	mustContain(t, addresses, "nodad")
	mustLack(t, addresses, "fe80")
	mustLack(t, addresses, "tentative")
	mustContain(t, ip(t, "-6", "route"), testPrefix+" dev cwtest0 proto 173 ")
	eventually(t, "the name is in the hosts file", func() bool {
		found, err := o.Lookup(t.Context(), "main.myws.me.coder")
		return err == nil && len(found) == 1 && found[0] == testAgent
	})

	applied := log.String()
	for range 3 {
		if err := o.Apply(t.Context(), want); err != nil {
			t.Fatal(err)
		}
	}
	if again := log.String(); again != applied {
		t.Errorf("applying the same again did something:\n%s", again[len(applied):])
	}

	if err := o.Apply(t.Context(), netcfg.Config{}); err != nil {
		t.Fatal(err)
	}
	if after := snapshot(t); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	if left := o.journal.Entries(); len(left) != 0 {
		t.Errorf("journal: %+v", left)
	}
}

// TestAddBeforeDelete replaces address and route and reads the order of the
// changes from the kernel.
func TestAddBeforeDelete(t *testing.T) {
	needNest(t)
	plainFiles(t)
	o, _ := newTestOS(t, t.TempDir(), "")
	openTUN(t, "cwtest1")
	want := testConfig("cwtest1")
	if err := o.Apply(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	ip(t, "addr", "add", "fd60:627a:a42b:9::9/128", "dev", "cwtest1", "nodad") // an orphan
	ip(t, "route", "add", "fd60:627a:a42b:9::/64", "dev", "cwtest1", "proto", "173")
	ip(t, "route", "add", "fd60:627a:a42b:a::/64", "dev", "cwtest1") // somebody's, by hand

	monitor := exec.Command("ip", "monitor", "address", "route")
	var text output
	monitor.Stdout = &text
	if err := monitor.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = monitor.Process.Kill(); _ = monitor.Wait() })
	eventually(t, "the monitor runs", func() bool {
		_ = exec.Command("ip", "addr", "add", "192.0.2.99/32", "dev", "lo").Run()
		_ = exec.Command("ip", "addr", "del", "192.0.2.99/32", "dev", "lo").Run()
		return strings.Contains(text.String(), "192.0.2.99")
	})
	want.Addresses = []netip.Prefix{netip.MustParsePrefix("fd60:627a:a42b:2::2/128"), netip.MustParsePrefix("100.64.9.1/32")}
	want.Routes = []netip.Prefix{netip.MustParsePrefix("fd60:627a:a42b::/49"), netip.MustParsePrefix("100.64.9.0/24")}
	if err := o.Apply(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the monitor has all", func() bool {
		return strings.Contains(text.String(), testAddress+" scope") // the last one removed
	})
	log := text.String()
	for _, order := range [][2]string{
		{"fd60:627a:a42b:2::2/128 scope", testAddress + " scope"},
		{"fd60:627a:a42b::/49 dev", "Deleted " + testPrefix + " dev"},
		{"fd60:627a:a42b::/49 dev", "Deleted fd60:627a:a42b:9::/64 dev"},
	} {
		added, removed := strings.Index(log, order[0]), strings.Index(log, order[1])
		if added < 0 || removed < 0 || added > removed {
			t.Errorf("%q at %d, %q at %d in:\n%s", order[0], added, order[1], removed, log)
		}
	}
	routes, addresses := ip(t, "-6", "route"), ip(t, "addr", "show", "dev", "cwtest1")
	mustLack(t, routes, "fd60:627a:a42b:9::/64")
	mustContain(t, routes, "fd60:627a:a42b:a::/64") // not of our protocol, so not ours
	mustLack(t, addresses, "fd60:627a:a42b:9::9")
	mustContain(t, addresses, "inet 100.64.9.1/32")
	mustContain(t, ip(t, "-4", "route"), "100.64.9.0/24 dev cwtest1 proto 173 scope link")
	if again := o.Apply(t.Context(), want); again != nil {
		t.Error(again)
	}
}

func TestApplyFailures(t *testing.T) {
	needNest(t)
	plainFiles(t)
	o, _ := newTestOS(t, t.TempDir(), "")
	before := snapshot(t)
	ip(t, "link", "add", "cwbridge", "type", "bridge")
	t.Cleanup(func() { ip(t, "link", "del", "cwbridge") })
	withBridge := snapshot(t)

	err := o.Apply(t.Context(), testConfig("cwbridge"))
	if !errors.Is(err, ErrForeignInterface) || !strings.Contains(err.Error(), "use interface cwbridge of kind bridge") {
		t.Error(err)
	}
	err = o.Apply(t.Context(), testConfig("cwnone"))
	if !errors.Is(err, ErrNoInterface) || !strings.Contains(err.Error(), "find interface cwnone") {
		t.Error(err)
	}
	invalid := testConfig("cwnone")
	invalid.Routes = []netip.Prefix{netip.MustParsePrefix("::/0")}
	if err := o.Apply(t.Context(), invalid); !errors.Is(err, netcfg.ErrInvalid) {
		t.Error(err)
	}
	// The names are right without an interface too.
	eventually(t, "the names are in the hosts file", func() bool {
		return strings.Contains(readFile(t, "/etc/hosts"), "main.myws.me.coder")
	})
	if err := o.Cleanup(t.Context()); err != nil {
		t.Fatal(err)
	}
	same(t, snapshot(t), withBridge)
	if before == withBridge {
		t.Error("the comparison does not see a planted interface")
	}
}

func TestRivalRoute(t *testing.T) {
	needNest(t)
	plainFiles(t)
	o, _ := newTestOS(t, t.TempDir(), "")
	openTUN(t, "cwtest2")
	openTUN(t, "rival0")
	ip(t, "link", "set", "rival0", "up")
	ip(t, "route", "add", testPrefix, "dev", "rival0", "proto", "static")
	want := testConfig("cwtest2")
	err := o.Apply(t.Context(), want)
	if !errors.Is(err, ErrRouteTaken) || !strings.Contains(err.Error(), "add route "+testPrefix+" to cwtest2: route is taken by interface rival0 (protocol 4)") {
		t.Error(err)
	}
	// The other parts are in place nonetheless, and the rival's is untouched.
	mustContain(t, ip(t, "addr", "show", "dev", "cwtest2"), testAddress)
	mustContain(t, ip(t, "-6", "route"), testPrefix+" dev rival0 proto static")
	if err := o.Cleanup(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustContain(t, ip(t, "-6", "route"), testPrefix+" dev rival0 proto static")
}

func TestIPv6Disabled(t *testing.T) {
	needNest(t)
	plainFiles(t)
	o, _ := newTestOS(t, t.TempDir(), "")
	const all = "/proc/sys/net/ipv6/conf/all/disable_ipv6"
	set := func(value string) {
		if err := os.WriteFile(all, []byte(value), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { set("0") })
	set("1")
	openTUN(t, "cwtest3")
	watch(t, o)
	err := o.Apply(t.Context(), testConfig("cwtest3"))
	if !errors.Is(err, ErrIPv6Disabled) || !strings.Contains(err.Error(), all+" is 1") {
		t.Error(err)
	}
	set("0")
	eventually(t, "it heals by itself", func() bool {
		return strings.Contains(ip(t, "-6", "route"), testPrefix+" dev cwtest3 proto 173") &&
			strings.Contains(ip(t, "addr", "show", "dev", "cwtest3"), testAddress)
	})
}

func TestAnotherInterfaceName(t *testing.T) {
	needNest(t)
	plainFiles(t)
	o, _ := newTestOS(t, t.TempDir(), "")
	openTUN(t, "cwold")
	openTUN(t, "cwnew")
	before := snapshot(t)
	for _, name := range []string{"cwold", "cwnew"} {
		if err := o.Apply(t.Context(), testConfig(name)); err != nil {
			t.Fatal(err)
		}
	}
	mustContain(t, ip(t, "-6", "route"), testPrefix+" dev cwnew")
	mustLack(t, ip(t, "addr", "show", "dev", "cwold"), testAddress)
	if err := o.Cleanup(t.Context()); err != nil {
		t.Fatal(err)
	}
	same(t, snapshot(t), before)
}

func TestCorruptJournal(t *testing.T) {
	needNest(t)
	plainFiles(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, journalName), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, log := newTestOS(t, dir, "")
	mustContain(t, log.String(), "journal of host changes is corrupt")
	if kept, _ := filepath.Glob(filepath.Join(dir, journalName+".corrupt-*")); len(kept) != 1 {
		t.Errorf("kept: %v", kept)
	}
}

// TestNoJournalNoChange: what cannot be written down must not be made.
func TestNoJournalNoChange(t *testing.T) {
	needNest(t)
	plainFiles(t)
	o, _ := newTestOS(t, filepath.Join(t.TempDir(), "gone"), "")
	openTUN(t, "cwtest4")
	before := snapshot(t)
	if err := o.Apply(t.Context(), testConfig("cwtest4")); err == nil || !strings.Contains(err.Error(), "write journal") {
		t.Error(err)
	}
	same(t, snapshot(t), before)
}

func TestLookup(t *testing.T) {
	needNest(t)
	plainFiles(t)
	writeFile(t, "/etc/hosts", "fd00::7 seven.coder\n192.0.2.7 four.coder\n")
	o, _ := newTestOS(t, t.TempDir(), "")
	// Without an address of its own the host is asked for no IPv6
	// (AI_ADDRCONFIG), as every application of it.
	openTUN(t, "cwtest5")
	if err := o.Apply(t.Context(), testConfig("cwtest5")); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"seven.coder": "fd00::7"} {
		got, err := o.Lookup(t.Context(), name)
		if err != nil || len(got) != 1 || got[0] != netip.MustParseAddr(want) {
			t.Errorf("%s: %v %v", name, got, err)
		}
	}
	for _, bad := range []string{"", "-h", "a b", "a\nb", "../x"} {
		if _, err := o.Lookup(t.Context(), bad); err == nil || !strings.Contains(err.Error(), "not a host name") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	// There is no name server in this namespace.
	ctx, cancel := context.WithTimeout(t.Context(), 300e6)
	defer cancel()
	ip(t, "route", "add", "192.0.2.0/24", "dev", "cwtest5")
	if _, err := o.Lookup(ctx, "none.coder"); err == nil {
		t.Error("found a name that is nowhere")
	}
}
