package platform

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causewayhq/causeway/netcfg"
)

func contextOf(t *testing.T) (context.Context, context.CancelFunc) {
	return context.WithCancel(t.Context())
}

func TestChooseDNS(t *testing.T) {
	full := wanted().DNS
	for _, test := range []struct {
		state client
		err   error
		dns   netcfg.DNS
		mode  string
		trail string
	}{
		{clientRunning, nil, full, ModeNRPT, "dns-client=running mode=nrpt"},
		{clientStopped, nil, full, ModeHosts, "dns-client=stopped mode=hosts"},
		{clientDisabled, nil, full, ModeHosts, "dns-client=disabled mode=hosts"},
		{clientRunning, errors.New("denied"), full, ModeNRPT, "dns-client=unknown mode=nrpt"},
		{clientRunning, nil, netcfg.DNS{Suffixes: full.Suffixes}, ModeHosts, "dns-client=running suffix-or-server=missing mode=hosts"},
		{clientRunning, nil, netcfg.DNS{Nameservers: full.Nameservers}, ModeHosts, "dns-client=running suffix-or-server=missing mode=hosts"},
	} {
		mode, trail := chooseDNS(test.state, test.err, test.dns)
		if got := strings.Join(trail, " "); mode != test.mode || got != test.trail {
			t.Errorf("%s, %s; want %s", mode, got, test.trail)
		}
	}
}

// TestLookup: how is asked depends on the mode, and a resolver that hangs costs
// the caller no more than its patience.
func TestLookup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &OS{pending: make(chan struct{}, maxLookups), mode: ModeNRPT}
		var asked []uint32
		answer := netip.MustParseAddr("fd60:627a:a42b::9")
		good := func(name string, options uint32) ([]netip.Addr, error) {
			asked = append(asked, options)
			if name != "main.dev.me.coder." {
				t.Errorf("asked for %q", name)
			}
			return []netip.Addr{answer}, nil
		}
		for range 2 {
			if got, err := o.lookup(t.Context(), "main.dev.me.coder", good); err != nil || !slices.Equal(got, []netip.Addr{answer}) {
				t.Errorf("got %v, %v", got, err)
			}
			o.mode = ModeHosts
		}
		if !slices.Equal(asked, []uint32{0x48, 0}) {
			t.Errorf("asked with %#x", asked)
		}
		release := make(chan struct{})
		hanging := func(string, uint32) ([]netip.Addr, error) { <-release; return nil, nil }
		for range maxLookups {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			start := time.Now()
			_, err := o.lookup(ctx, "x.coder", hanging)
			cancel()
			if failed := new(net.DNSError); !errors.As(err, &failed) || !failed.IsTimeout || time.Since(start) != time.Second {
				t.Errorf("after %v: %v", time.Since(start), err)
			}
		}
		if _, err := o.lookup(t.Context(), "x.coder", hanging); !errors.Is(err, errLookupsHang) {
			t.Errorf("one more: %v", err)
		}
		close(release)
		synctest.Wait()
		if _, err := o.lookup(t.Context(), "main.dev.me.coder", good); err != nil {
			t.Errorf("afterwards: %v", err)
		}
		for _, name := range []string{"", "a b", "a\x00", `a\b`, "a/b"} {
			if _, err := o.lookup(t.Context(), name, good); err == nil {
				t.Errorf("%q was looked up", name)
			}
		}
	})
}

func TestLookupErrors(t *testing.T) {
	for status, notFound := range map[uint32]bool{9003: true, 9501: true, 9002: false, 1460: false} {
		err := lookupError("a.coder.", status, errors.New("status"))
		failed := new(net.DNSError)
		if got := errors.As(err, &failed) && failed.IsNotFound; got != notFound || !strings.Contains(err.Error(), "a.coder") {
			t.Errorf("%d: %v", status, err)
		}
	}
}

func TestFingerprint(t *testing.T) {
	h := parseHost(plainHost)
	before, err := h.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	text := fingerprint(before, 9)
	if text != "address 192.0.2.7/24 on Ethernet\nlink Ethernet\nroute 0.0.0.0/0 via 192.0.2.1 on Ethernet metric 0" {
		t.Errorf("fingerprint\n%s", text)
	}
	ours, err := parseHost(wantedHost).Snapshot()
	if err != nil || fingerprint(ours, 9) != text {
		t.Errorf("our own changes are in it: %v\n%s", err, fingerprint(ours, 9))
	}
	for _, change := range []string{"address 1 192.0.2.8/24", "route 1 10.0.0.0/8 192.0.2.9 5", "link 2 Wi-Fi {00000000-0000-0000-0000-0000000000e2} up"} {
		now, err := parseHost(plainHost + change).Snapshot()
		if err != nil || fingerprint(now, 9) == text {
			t.Errorf("%s is not in it (%v)", change, err)
		}
	}
	unchanged, err := parseHost(plainHost + "link 2 Wi-Fi {00000000-0000-0000-0000-0000000000e2} down\naddress 2 198.51.100.1/24").Snapshot()
	if err != nil || fingerprint(unchanged, 9) != text {
		t.Errorf("a link that is down is in it (%v)", err)
	}
}

func hostsFile(t *testing.T, dir string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(dir, "hosts"))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// TestHostsMode: without a DNS client nobody reads rules.
func TestHostsMode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		h := parseHost(strings.ReplaceAll(plainHost, "client running", "client disabled"))
		o := h.open(t, dir)
		apply(t, o, wanted())
		synctest.Wait()
		if o.DNSMode() != ModeHosts || !strings.Contains(hostsFile(t, dir), "main.dev.me.coder") || h.find("rule .coder") < 0 {
			t.Errorf("mode %q, file %q, host\n%s", o.DNSMode(), hostsFile(t, dir), h)
		}
		h.lines[h.find("client")] = "client running"
		if err := o.again(t.Context()); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if o.DNSMode() != ModeNRPT || hostsFile(t, dir) != foreignHosts {
			t.Errorf("mode %q, file %q", o.DNSMode(), hostsFile(t, dir))
		}
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestHostsFileIsHeld while the section has to go, for rules do its work now:
// nobody waits, and the journal lists it until it has gone.
func TestHostsFileIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		h := parseHost(strings.ReplaceAll(plainHost, "client running", "client stopped"))
		o := h.open(t, dir)
		apply(t, o, wanted())
		synctest.Wait()
		file := filepath.Join(dir, "hosts")
		held := errors.Join(os.Rename(file, file+".held"), os.Mkdir(file, 0o755))
		h.lines[h.find("client")] = "client running"
		began := time.Now()
		if err := errors.Join(held, o.again(t.Context()), o.again(t.Context())); err != nil || time.Since(began) != 0 || o.DNSMode() != ModeNRPT {
			t.Errorf("after %v: %v, mode %q", time.Since(began), err, o.DNSMode())
		}
		recorded := func() bool { return slices.Contains(o.journal.Entries(), o.hostsChange()) }
		if !recorded() {
			t.Error("the journal forgot a section that is there")
		}
		synctest.Wait() // the writer is between two attempts
		free := errors.Join(os.Remove(file), os.Rename(file+".held", file))
		time.Sleep(time.Minute)
		synctest.Wait()
		if err := errors.Join(free, o.again(t.Context())); err != nil || hostsFile(t, dir) != foreignHosts || recorded() {
			t.Errorf("in the end: %v, file %q, recorded %v", err, hostsFile(t, dir), recorded())
		}
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestRulesFail: names do not go dark when rules cannot be written.
func TestRulesFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		h := parseHost(plainHost)
		denied := errors.New("access denied")
		h.refuse = func(step string) error {
			if strings.HasPrefix(step, "add rule") {
				return denied
			}
			return nil
		}
		o := h.open(t, dir)
		if err := o.Apply(t.Context(), wanted()); !errors.Is(err, denied) {
			t.Errorf("error %v", err)
		}
		synctest.Wait()
		if o.DNSMode() != ModeHosts || !strings.Contains(hostsFile(t, dir), "main.dev.me.coder") || !o.failed.Load() {
			t.Errorf("mode %q, file %q", o.DNSMode(), hostsFile(t, dir))
		}
		h.refuse = nil
		err := o.again(t.Context())
		synctest.Wait()
		if err != nil || o.DNSMode() != ModeNRPT || hostsFile(t, dir) != foreignHosts || o.failed.Load() {
			t.Errorf("then: %v, mode %q, file %q", err, o.DNSMode(), hostsFile(t, dir))
		}
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	})
}
