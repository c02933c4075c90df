package doctor

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"

	platform "github.com/causewayhq/causeway/platform_linux"
	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/localv1"
)

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestTUNHolder(t *testing.T) {
	proc := t.TempDir()
	for pid, name := range map[string]string{"12": "tun1", "34": "tun0"} {
		write(t, filepath.Join(proc, pid, "fdinfo", "5"), "pos:\t0\nflags:\t02\niff:\t"+name+"\n")
		write(t, filepath.Join(proc, pid, "comm"), "vpn"+pid+"\n")
		if err := os.Mkdir(filepath.Join(proc, pid, "fd"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("/dev/net/tun", filepath.Join(proc, pid, "fd", "5")); err != nil {
			t.Fatal(err)
		}
	}
	if got := tunHolder(proc, "tun0"); got != "vpn34 (process 34)" {
		t.Errorf("tunHolder() = %q", got)
	}
	if got := tunHolder(proc, "tun"); got != "" {
		t.Errorf("tunHolder() of nobody's = %q", got)
	}
}

func TestForeignInterface(t *testing.T) {
	if got := foreignInterface("lo"); got != "an interface of another program" {
		t.Errorf("foreignInterface(lo) = %q", got)
	}
	if got := foreignInterface("none-such0"); got != "" {
		t.Errorf("foreignInterface() of none = %q", got)
	}
}

func TestIPv6Off(t *testing.T) {
	root := t.TempDir()
	write(t, filepath.Join(root, "conf/all/disable_ipv6"), "0\n")
	write(t, filepath.Join(root, "conf/tun0/disable_ipv6"), "1\n")
	if got := ipv6Off(root, "tun0"); got != filepath.Join(root, "conf/tun0/disable_ipv6")+" is 1" {
		t.Errorf("ipv6Off(tun0) = %q", got)
	}
	if got := ipv6Off(root, "tun1"); got != "" {
		t.Errorf("ipv6Off(tun1) = %q", got)
	}
	if got := ipv6Off(root+"/none", "tun1"); !strings.Contains(got, "is missing") {
		t.Errorf("ipv6Off() without IPv6 = %q", got)
	}
}

// TestForeignComplaints: the adapter's words for another program's route.
func TestForeignComplaints(t *testing.T) {
	for _, cause := range []error{platform.ErrShadowed, platform.ErrRouteTaken} {
		if !isForeign(&localv1.Problem{Cause: "apply: " + cause.Error() + " by tun7"}) {
			t.Errorf("%q is not told to be foreign", cause)
		}
	}
	if isForeign(&localv1.Problem{Cause: "apply: " + platform.ErrIPv6Disabled.Error()}) {
		t.Error("IPv6 is told to be a foreign route")
	}
}

func TestTLSFiles(t *testing.T) {
	root := t.TempDir()
	write(t, filepath.Join(root, "etc/systemd/resolved.conf"), "[Resolve]\n#DNSOverTLS=yes\n")
	write(t, filepath.Join(root, "usr/lib/systemd/resolved.conf.d/vendor.conf"), "[Resolve]\nDNSOverTLS = yes\n")
	write(t, filepath.Join(root, "usr/lib/systemd/resolved.conf.d/hidden.conf"), "[Resolve]\nDNSOverTLS=yes\n")
	write(t, filepath.Join(root, "etc/systemd/resolved.conf.d/hidden.conf"), "[Resolve]\nDNSOverTLS=no\n")
	write(t, filepath.Join(root, "etc/systemd/resolved.conf.d/ours.conf"), "[Resolve]\nDNSOverTLS=opportunistic\n")
	want := []string{filepath.Join(root, "etc/systemd/resolved.conf.d/ours.conf"), filepath.Join(root, "usr/lib/systemd/resolved.conf.d/vendor.conf")}
	if got := tlsFiles(root); !slices.Equal(got, want) {
		t.Errorf("tlsFiles() = %v, want %v", got, want)
	}
}

func TestReadLink(t *testing.T) {
	type server struct {
		Family  int32
		Address []byte
	}
	type domain struct {
		Domain  string
		Routing bool
	}
	var r Resolved
	r.readLink(map[string]dbus.Variant{
		"DNS":     dbus.MakeVariant([]server{{10, proto.DNSAddr.AsSlice()}, {2, []byte{192, 0, 2, 1}}, {2, []byte{1}}}),
		"Domains": dbus.MakeVariant([]domain{{"Coder", true}, {"example.com", false}}),
	})
	if !slices.Equal(r.Servers, []netip.Addr{proto.DNSAddr, netip.MustParseAddr("192.0.2.1")}) || !slices.Equal(r.Domains, []string{"~coder", "example.com"}) {
		t.Errorf("readLink() = %+v", r)
	}
}
