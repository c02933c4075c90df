package cli

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/causewayhq/causeway/cli/doctor"
	"github.com/causewayhq/causeway/proto/localv1"
)

// TestNetcheckOutput holds what people read (testdata/netcheck).
func TestNetcheckOutput(t *testing.T) {
	blocked := &localv1.ExamineResponse{
		Status: fakeStatus("degraded"), RelayAsked: true, RelayError: "dial 192.0.2.1:443: timeout",
		Network: &localv1.NetworkReport{MappingVaries: proto.Bool(true), PortMapping: proto.Bool(true), Relays: fakeNetwork().Relays},
	}
	for name, test := range map[string]struct {
		in      *localv1.ExamineResponse
		proxies doctor.Proxies
		vpns    []doctor.VPN
		nat     string
	}{
		"open":    {&localv1.ExamineResponse{Status: fakeStatus("connected"), RelayAsked: true, Network: fakeNetwork()}, doctor.Proxies{}, nil, "easy"},
		"blocked": {blocked, doctor.Proxies{Service: doctor.Proxy{Variable: "HTTPS_PROXY", Value: "http://proxy:3128", Err: errors.New("refused")}, User: doctor.Proxy{Variable: "https_proxy", Value: "http://other:1"}}, []doctor.VPN{{Interface: "wg0", Maker: "WireGuard"}}, "hard"},
		"nothing": {&localv1.ExamineResponse{Status: fakeStatus("connected"), Network: &localv1.NetworkReport{}}, doctor.Proxies{}, nil, "unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout output
			a := &app{env: Env{Stdout: &stdout, LookupEnv: noEnv}}
			out := netcheckOf(test.in, test.proxies, test.vpns)
			if out.NAT != test.nat {
				t.Errorf("NAT %s, want %s", out.NAT, test.nat)
			}
			if err := a.printNetcheck(out); err != nil {
				t.Fatal(err)
			}
			golden(t, filepath.Join("testdata", "netcheck", name), stdout.String())
			var line output
			if err := writeJSON(&line, out); err != nil {
				t.Fatal(err)
			}
			fitsSchema(t, "netcheck", line.String())
		})
	}
}

// TestNetcheckFails: neither UDP nor a relay.
func TestNetcheckFails(t *testing.T) {
	for relay, want := range map[string]int{"": 0, "timeout": 8} {
		path := filepath.Join(t.TempDir(), "s")
		serve(t, path, &cutOff{fakeDaemon: fakeDaemon{status: fakeStatus("connected")}, relay: relay})
		_, stderr, code := command(t, path, "netcheck --json")
		if got := <-code; got != want {
			t.Errorf("exit code %d with relay error %q, want %d: %s", got, relay, want, stderr.String())
		}
	}
}

// cutOff is a daemon to which no UDP comes.
type cutOff struct {
	fakeDaemon
	relay string
}

func (c *cutOff) Examine(context.Context, *localv1.ExamineRequest) (*localv1.ExamineResponse, error) {
	return &localv1.ExamineResponse{Status: c.get(), RelayAsked: true, RelayError: c.relay, Network: &localv1.NetworkReport{}}, nil
}

func TestVPNs(t *testing.T) {
	up := net.FlagUp
	addresses := func(one *net.Interface) ([]net.Addr, error) {
		switch one.Name {
		case "tap0": // of a virtual machine
			return nil, nil
		case "utun1": // macOS's own
			return []net.Addr{&net.IPNet{IP: net.ParseIP("fe80::1"), Mask: net.CIDRMask(64, 128)}}, nil
		case "tun7":
			return nil, errors.New("not told")
		}
		return []net.Addr{&net.IPNet{IP: net.ParseIP("fe80::1")}, &net.IPNet{IP: net.ParseIP("10.9.0.2")}}, nil
	}
	got := doctor.VPNs([]net.Interface{
		{Name: "lo", Flags: up}, {Name: "eth0", Flags: up}, {Name: "wg0", Flags: up}, {Name: "tailscale0"}, {Name: "tun0", Flags: up},
		{Name: "tun7", Flags: up}, {Name: "tap0", Flags: up}, {Name: "utun1", Flags: up},
	}, "tun0", addresses)
	var names []string
	for _, vpn := range got {
		names = append(names, vpn.Interface)
	}
	if !slices.Equal(names, []string{"wg0", "tun7"}) || !strings.Contains(got[0].Maker, "WireGuard") {
		t.Errorf("VPNs() = %v", got)
	}
}
