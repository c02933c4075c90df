package cli

import (
	"errors"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/causewayhq/causeway/cli/doctor"
)

// TestDNSStatus holds what people and programs read (testdata/dns).
func TestDNSStatus(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	serveFake(t, path, "connected")
	for name, test := range map[string]struct {
		broken func(*doctor.Facts)
		args   string
		code   int
	}{
		"well":      {func(*doctor.Facts) {}, "", 0},
		"well-json": {func(*doctor.Facts) {}, "--json", 0},
		"shadowed": {func(f *doctor.Facts) {
			f.Names.Libc = doctor.Lookup{Asked: true, Err: errors.New("no such host\x1b[2J")}
			f.Names.Direct = doctor.Lookup{}
			f.Names.ResolvConf = doctor.ResolvConf{Servers: []netip.Addr{netip.MustParseAddr("10.8.0.1")}, Writer: "openvpn"}
		}, "", 8},
		"silent-json": {func(f *doctor.Facts) {
			f.Tunnel.Status.CanaryOk, f.Tunnel.Status.DnsMode, f.Names.Resolved = false, "hosts", doctor.Resolved{Err: errors.New("not there")}
			f.Names.ResolvConf = doctor.ResolvConf{Err: errors.New("no such file")}
		}, "--json", 8},
	} {
		t.Run(name, func(t *testing.T) {
			host := &patient{facts: wellFacts()}
			test.broken(&host.facts)
			var stdout, stderr output
			code := Main(t.Context(), Env{
				Args: append([]string{"causeway", "--socket", path, "dns", "status"}, strings.Fields(test.args)...), Stdin: strings.NewReader(""),
				Stdout: &stdout, Stderr: &stderr, LookupEnv: noEnv, Version: "v1.2.3", Doctor: host,
			})
			if code != test.code || stderr.String() != "" {
				t.Errorf("exit code %d, want %d; %s", code, test.code, stderr.String())
			}
			golden(t, filepath.Join("testdata", "dns", name), stdout.String())
			if strings.HasSuffix(name, "-json") {
				fitsSchema(t, "dns-status", stdout.String())
			}
		})
	}
}

// TestFlushIsLessThanRepair: only a repair has settings put back.
func TestFlushIsLessThanRepair(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	daemon := &fakeDaemon{status: fakeStatus("connected")}
	serve(t, path, daemon)
	for _, want := range []struct {
		line             string
		repairs, flushes int
	}{{"dns flush", 1, 1}, {"dns repair", 2, 1}} {
		_, stderr, code := command(t, path, want.line)
		if got := <-code; got != 0 || daemon.repairs != want.repairs || daemon.flushes != want.flushes {
			t.Errorf("%s: exit code %d, asked for %d, of these %d of the cache alone: %s", want.line, got, daemon.repairs, daemon.flushes, stderr.String())
		}
	}
}
