package platform

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/causewayhq/causeway/netcfg"
)

func apply(t *testing.T, o *OS, want netcfg.Config) {
	t.Helper()
	if err := o.Apply(t.Context(), want); err != nil {
		t.Fatal(err)
	}
}

func same(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\n%s\nwant\n%s", what, got, want)
	}
}

const goldenApply = `ifconfig utun4 mtu 1280
ifconfig utun4 up
ifconfig utun4 inet6 fd60:627a:a42b:1::1/128 alias
route add fd60:627a:a42b::/48 15
dscacheutil -flushcache
killall -HUP mDNSResponder`

func TestApply(t *testing.T) {
	mac, dir := newFakeMac(), t.TempDir()
	before := mac.state()
	o := newTestOS(t, mac, dir)
	same(t, "constructor", mac.transcript()+mac.state(), before)
	apply(t, o, testConfig())
	same(t, "first", mac.transcript(), goldenApply)
	if mode := o.DNSMode(); mode != ModeResolverFiles {
		t.Error("mode", mode)
	}
	apply(t, o, testConfig())
	apply(t, newTestOS(t, mac, dir), testConfig()) // the next process finds all in place
	same(t, "again", mac.transcript(), "")

	// Another address, another route, other names: new before old.
	want := testConfig()
	want.Addresses = []netip.Prefix{netip.MustParsePrefix("fd60:627a:a42b:2::1/128"), netip.MustParsePrefix("100.64.0.1/32")}
	want.Routes = []netip.Prefix{netip.MustParsePrefix("fd60:627a:a42c::/48")}
	want.DNS.Suffixes = []string{"other"}
	apply(t, o, want)
	same(t, "another", mac.transcript(), `ifconfig utun4 inet 100.64.0.1/32 100.64.0.1 alias
ifconfig utun4 inet6 fd60:627a:a42b:2::1/128 alias
route add fd60:627a:a42c::/48 15
dscacheutil -flushcache
killall -HUP mDNSResponder
route delete fd60:627a:a42b::/48 15
ifconfig utun4 inet6 fd60:627a:a42b:1::1 -alias`)
	left, err := os.ReadDir(filepath.Join(dir, "resolver"))
	if err != nil || len(left) != 1 || left[0].Name() != "other" {
		t.Errorf("resolver files: %v %v", left, err)
	}
	apply(t, o, netcfg.Config{})
	if mode, left := o.DNSMode(), o.journal.Entries(); mode != "" || len(left) != 0 {
		t.Errorf("mode %q, journal %+v", mode, left)
	}
}

// TestCleanup: of this process, of an earlier one, with the journal and without;
// each twice.
func TestCleanup(t *testing.T) {
	for _, lost := range []bool{false, true} {
		mac, dir := newFakeMac(), t.TempDir()
		mac.links[3].up, mac.links[3].mtu = true, 1280
		mac.table = append(mac.table, fakeRoute{netip.MustParsePrefix("10.1.0.0/16"), 6, rtfUp | rtfProto1}) // a routing daemon's
		before := mac.state()
		apply(t, newTestOS(t, mac, dir), testConfig())
		if mac.state() == before {
			t.Fatal("the comparison sees nothing")
		}
		if lost {
			if err := os.Remove(filepath.Join(dir, journalName)); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			o := newTestOS(t, mac, dir)
			if err := o.Cleanup(t.Context()); err != nil {
				t.Fatal(err)
			}
			if left := o.journal.Entries(); len(left) != 0 {
				t.Errorf("journal: %+v", left)
			}
		}
		if lost { // an address has no mark; it goes with the interface
			mac.links[3].addresses = mac.links[3].addresses[:1]
		}
		same(t, "after", mac.state(), before)
		if left, _ := filepath.Glob(filepath.Join(dir, "resolver", "*")); len(left) != 0 {
			t.Errorf("resolver files: %v", left)
		}
	}
}

// TestNameAndIndexOfAnother: another program got our interface's name and
// index after we died; nothing on it is touched but what is exactly ours.
func TestNameAndIndexOfAnother(t *testing.T) {
	mac, dir := newFakeMac(), t.TempDir()
	apply(t, newTestOS(t, mac, dir), testConfig())
	mac.links[3].addresses = []netip.Prefix{netip.MustParsePrefix("10.8.0.2/32")}
	mac.table = []fakeRoute{{testConfig().Routes[0], 15, rtfUp | rtfStatic}}
	before := mac.state()
	mac.transcript()
	if err := newTestOS(t, mac, dir).Cleanup(t.Context()); err != nil {
		t.Fatal(err)
	}
	same(t, "state", mac.state(), before)
	same(t, "done", mac.transcript(), "dscacheutil -flushcache\nkillall -HUP mDNSResponder")
}

// TestOldBoot: after a reboot the indexes mean something else.
func TestOldBoot(t *testing.T) {
	mac, dir := newFakeMac(), t.TempDir()
	apply(t, newTestOS(t, mac, dir), testConfig())
	before := mac.state()
	o := newTestOS(t, mac, dir)
	o.epoch = "next boot"
	if err := o.undoElsewhere(t.Context(), mac.links, "utun4"); err != nil {
		t.Fatal(err)
	}
	same(t, "state", mac.state(), before)
	for _, c := range o.journal.Entries() {
		if c.Epoch != "" {
			t.Errorf("still in the journal: %+v", c)
		}
	}
}

// TestPartsFailAlone: each part may fail without keeping the others from being
// done, and the error names it.
func TestPartsFailAlone(t *testing.T) {
	tests := []struct {
		broken, say string
	}{
		{"links", "list interfaces"},
		{"routes", "list routes"},
		{"request", "add route fd60:627a:a42b::/48 into utun4"},
		{ifconfigPath, "add address fd60:627a:a42b:1::1/128"},
	}
	for _, test := range tests {
		mac, dir := newFakeMac(), t.TempDir()
		mac.broken[test.broken] = syscall.EPERM
		o := newTestOS(t, mac, dir)
		err := o.Apply(t.Context(), testConfig())
		if !errors.Is(err, syscall.EPERM) || !strings.Contains(err.Error(), test.say) || !o.failed.Load() {
			t.Errorf("%s: %v", test.broken, err)
		}
		if _, err := os.Stat(filepath.Join(dir, "resolver", "coder")); err != nil {
			t.Errorf("%s: names are not set: %v", test.broken, err)
		}
		delete(mac.broken, test.broken)
		if err := o.again(t.Context(), false); err != nil || o.failed.Load() {
			t.Errorf("%s: mended: %v", test.broken, err)
		}
	}
	mac := newFakeMac()
	mac.links = mac.links[:3]
	if err := newTestOS(t, mac, t.TempDir()).Apply(t.Context(), testConfig()); !errors.Is(err, ErrNoInterface) {
		t.Error(err)
	}
}

// TestFlushIsTriedAgain: it is no failure of Apply, and comes with the next.
func TestFlushIsTriedAgain(t *testing.T) {
	mac := newFakeMac()
	mac.broken["/usr/bin/killall"] = syscall.EPERM
	o := newTestOS(t, mac, t.TempDir())
	apply(t, o, testConfig())
	mac.transcript()
	delete(mac.broken, "/usr/bin/killall")
	apply(t, o, testConfig())
	same(t, "flush", mac.transcript(), "dscacheutil -flushcache\nkillall -HUP mDNSResponder")
	apply(t, o, testConfig())
	same(t, "flush", mac.transcript(), "")
}

// TestCompetitors are named, and nothing of theirs is touched.
func TestCompetitors(t *testing.T) {
	mac, dir := newFakeMac(), t.TempDir()
	mac.links = append(mac.links, link{index: 21, name: "utun7", up: true})
	mac.table = append(mac.table, fakeRoute{testConfig().Routes[0], 21, rtfUp | rtfStatic})
	mac.scutil = "resolver #1\n  domain   : me.coder\n  nameserver[0] : 10.2.0.1\n  if_index : 21 (utun7)\n"
	before := mac.state()
	if err := os.Mkdir(filepath.Join(dir, "resolver"), 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "resolver", "coder")
	if err := os.WriteFile(path, []byte("nameserver 192.0.2.1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	o := newTestOS(t, mac, dir)
	err := o.Apply(t.Context(), testConfig())
	if err == nil || !strings.Contains(err.Error(), "into utun7") {
		t.Errorf("route: %v", err)
	}
	trouble := o.Trouble()
	for _, say := range []string{path, "me.coder ask 10.2.0.1 by utun7"} {
		if trouble == nil || !strings.Contains(trouble.Error(), say) {
			t.Errorf("no %q in %v", say, trouble)
		}
	}
	if err := o.Cleanup(t.Context()); err != nil {
		t.Fatal(err)
	}
	if trouble := o.Trouble(); trouble != nil {
		t.Error("after the cleanup:", trouble)
	}
	mac.links[3].mtu, mac.links[3].up = 1500, false // what goes with the interface
	same(t, "state", mac.state(), before)
	if text, err := os.ReadFile(path); err != nil || string(text) != "nameserver 192.0.2.1\n" {
		t.Errorf("the foreign file became %q, %v", text, err)
	}
}

func TestInvalidConfig(t *testing.T) {
	mac, want := newFakeMac(), testConfig()
	want.DNS.Suffixes = []string{"../../etc/passwd"}
	if err := newTestOS(t, mac, t.TempDir()).Apply(t.Context(), want); !errors.Is(err, netcfg.ErrInvalid) {
		t.Error(err)
	}
	same(t, "done", mac.transcript(), "")
}

func TestPlanRoutes(t *testing.T) {
	dst := netip.MustParsePrefix
	table := []message{
		{dst: dst("fd00:1::/48"), index: 15, flags: rtfUp | routeMark},
		{dst: dst("fd00:2::/48"), index: 15, flags: rtfUp | routeMark},
		{dst: dst("fd00:3::/48"), index: 15, flags: rtfUp},                // by hand, not ours to remove
		{dst: dst("fd00:4::/48"), index: 21, flags: rtfUp | rtfIfScope},   // in nobody's way
		{dst: dst("fd00:5::/48"), index: 21, flags: rtfUp},                // in our way
		{dst: dst("fd00:6::/48"), index: 21, flags: rtfUp | routeMark},    // another's, whatever its flag
		{dst: dst("fd00:7::/48"), index: 15, flags: rtfUp | rtfWasCloned}, // the kernel's own
	}
	want := []netip.Prefix{dst("fd00:1::/48"), dst("fd00:4::/48"), dst("fd00:5::/48"), dst("fd00:7::/48"), dst("fd00:3::/48")}
	plan := planRoutes(table, want, 15)
	if got := (netcfg.Config{Routes: plan.add}); !got.Equal(netcfg.Config{Routes: []netip.Prefix{dst("fd00:4::/48"), dst("fd00:7::/48")}}) {
		t.Errorf("add %v", plan.add)
	}
	if len(plan.remove) != 1 || plan.remove[0] != dst("fd00:2::/48") {
		t.Errorf("remove %v", plan.remove)
	}
	if len(plan.taken) != 1 || plan.taken[dst("fd00:5::/48")] != 21 {
		t.Errorf("taken %v", plan.taken)
	}
}

// TestFlushNames empties both caches, also when nothing has changed, and tells
// of each that it could not.
func TestFlushNames(t *testing.T) {
	mac := newFakeMac()
	o := newTestOS(t, mac, t.TempDir())
	apply(t, o, testConfig())
	mac.transcript()
	if err := o.FlushNames(t.Context()); err != nil {
		t.Error(err)
	}
	same(t, "flush", mac.transcript(), "dscacheutil -flushcache\nkillall -HUP mDNSResponder")
	mac.broken["/usr/bin/dscacheutil"] = syscall.EPERM
	if err := o.FlushNames(t.Context()); !errors.Is(err, syscall.EPERM) {
		t.Errorf("FlushNames() = %v", err)
	}
	if said := mac.transcript(); !strings.Contains(said, "killall -HUP mDNSResponder") {
		t.Errorf("one that fails keeps the other: %s", said)
	}
}
