package platform

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causewayhq/causeway/netcfg"
)

// plainHost has a network and our new adapter on it.
const plainHost = `
link 1 Ethernet {00000000-0000-0000-0000-0000000000e1} up
link 9 Causeway OURS up
family 1 IPv4 metric=auto:25 dad=3 discovery=on managed=on mtu=1500
family 9 IPv4 metric=auto:5 dad=3 discovery=on managed=on mtu=65535
family 9 IPv6 metric=auto:5 dad=1 discovery=on managed=on mtu=65535
address 1 192.0.2.7/24
address 9 fe80::1/64
route 1 0.0.0.0/0 192.0.2.1 0
route 1 192.0.2.0/24 0.0.0.0 256 kernel
route 9 ff00::/8 :: 256 kernel
rule . 10.2.0.1
key SYSTEM\CurrentControlSet\Services\Tcpip\Parameters\Interfaces\OURS
key SYSTEM\CurrentControlSet\Services\Tcpip6\Parameters\Interfaces\OURS
key SYSTEM\CurrentControlSet\Services\NetBT\Parameters\Interfaces\Tcpip_OURS
client running
`

// wantedLines are what applied adds to or changes in it.
const wantedHost = `
link 1 Ethernet {00000000-0000-0000-0000-0000000000e1} up
link 9 Causeway OURS up
family 1 IPv4 metric=auto:25 dad=3 discovery=on managed=on mtu=1500
family 9 IPv4 metric=auto:5 dad=3 discovery=on managed=on mtu=65535
family 9 IPv6 metric=500 dad=0 discovery=off managed=off mtu=1280
address 1 192.0.2.7/24
address 9 fe80::1/64
address 9 fd60:627a:a42b::1/128
route 1 0.0.0.0/0 192.0.2.1 0
route 1 192.0.2.0/24 0.0.0.0 256 kernel
route 9 ff00::/8 :: 256 kernel
route 9 fd60:627a:a42b::/48 :: 0
rule . 10.2.0.1
rule .coder fd60:627a:a42b::53
key SYSTEM\CurrentControlSet\Services\Tcpip\Parameters\Interfaces\OURS
key SYSTEM\CurrentControlSet\Services\Tcpip6\Parameters\Interfaces\OURS
key SYSTEM\CurrentControlSet\Services\NetBT\Parameters\Interfaces\Tcpip_OURS
value SYSTEM\CurrentControlSet\Services\Tcpip\Parameters\Interfaces\OURS RegistrationEnabled number 0
value SYSTEM\CurrentControlSet\Services\Tcpip\Parameters\Interfaces\OURS DisableDynamicUpdate number 1
value SYSTEM\CurrentControlSet\Services\Tcpip\Parameters\Interfaces\OURS MaxNumberOfAddressesToRegister number 0
value SYSTEM\CurrentControlSet\Services\Tcpip\Parameters\Interfaces\OURS EnableMulticast number 0
value SYSTEM\CurrentControlSet\Services\Tcpip6\Parameters\Interfaces\OURS RegistrationEnabled number 0
value SYSTEM\CurrentControlSet\Services\Tcpip6\Parameters\Interfaces\OURS DisableDynamicUpdate number 1
value SYSTEM\CurrentControlSet\Services\Tcpip6\Parameters\Interfaces\OURS MaxNumberOfAddressesToRegister number 0
value SYSTEM\CurrentControlSet\Services\Tcpip6\Parameters\Interfaces\OURS EnableMulticast number 0
value SYSTEM\CurrentControlSet\Services\NetBT\Parameters\Interfaces\Tcpip_OURS NetbiosOptions number 2
client running
`

func wanted() netcfg.Config {
	return netcfg.Config{
		Interface: "Causeway", MTU: 1280,
		Addresses: []netip.Prefix{netip.MustParsePrefix("fd60:627a:a42b::1/128")},
		Routes:    []netip.Prefix{netip.MustParsePrefix("fd60:627a:a42b::/48")},
		DNS: netcfg.DNS{
			Nameservers: []netip.Addr{netip.MustParseAddr("fd60:627a:a42b::53")}, Suffixes: []string{"coder"},
			Hosts: netcfg.ListHosts(netcfg.Host{Name: "main.dev.me.coder", Addr: netip.MustParseAddr("fd60:627a:a42b::9")}),
		},
	}
}

func apply(t *testing.T, o *OS, want netcfg.Config) {
	t.Helper()
	if err := o.Apply(t.Context(), want); err != nil {
		t.Fatal(err)
	}
}

func sameHost(t *testing.T, h *fakeHost, want string) {
	t.Helper()
	if got, want := h.String(), sortedText(want); got != want {
		t.Errorf("the host is\n%s\nwant\n%s", got, want)
	}
}

func TestApplyTranscript(t *testing.T) {
	h := parseHost(plainHost)
	o := h.open(t, t.TempDir())
	apply(t, o, wanted())
	sameHost(t, h, wantedHost)
	const want = `set family 9 IPv6 metric=500 dad=0 discovery=off managed=off mtu=1280
add address 9 fd60:627a:a42b::1/128
add route 9 fd60:627a:a42b::/48 :: 0
add rule .coder fd60:627a:a42b::53
set value Tcpip-OURS RegistrationEnabled number 0
set value Tcpip-OURS DisableDynamicUpdate number 1
set value Tcpip-OURS MaxNumberOfAddressesToRegister number 0
set value Tcpip-OURS EnableMulticast number 0
set value NetBT-OURS NetbiosOptions number 2
set value Tcpip6-OURS RegistrationEnabled number 0
set value Tcpip6-OURS DisableDynamicUpdate number 1
set value Tcpip6-OURS MaxNumberOfAddressesToRegister number 0
set value Tcpip6-OURS EnableMulticast number 0`
	if got := strings.Join(h.transcript, "\n"); got != want {
		t.Errorf("transcript\n%s\nwant\n%s", got, want)
	}
	if o.DNSMode() != ModeNRPT {
		t.Errorf("mode %q", o.DNSMode())
	}
	// Nothing differs now, so nothing is written.
	h.transcript = nil
	apply(t, o, wanted())
	if len(h.transcript) != 0 {
		t.Errorf("again:\n%s", strings.Join(h.transcript, "\n"))
	}
}

// TestSurplusGoesLast: what an earlier run left goes when the rest stands.
func TestSurplusGoesLast(t *testing.T) {
	h := parseHost(plainHost + `
address 9 fd60:627a:a42b::77/128
route 9 fd60:627a:a42c::/48 :: 0
value SYSTEM\CurrentControlSet\Services\Tcpip6\Parameters\Interfaces\OURS NameServer text 10.2.0.1
`)
	apply(t, h.open(t, t.TempDir()), wanted())
	sameHost(t, h, wantedHost+`value SYSTEM\CurrentControlSet\Services\Tcpip6\Parameters\Interfaces\OURS NameServer text`)
	n := len(h.transcript)
	if got := strings.Join(h.transcript[n-3:], "\n"); got != `clear servers of OURS IPv6
remove route 9 fd60:627a:a42c::/48 ::
remove address 9 fd60:627a:a42b::77/128` {
		t.Errorf("at the end:\n%s", got)
	}
}

// TestServersWithoutTheCall is a Windows before 1809.
func TestServersWithoutTheCall(t *testing.T) {
	h := parseHost(plainHost + `value SYSTEM\CurrentControlSet\Services\Tcpip\Parameters\Interfaces\OURS SearchList text corp.example`)
	h.refuse = func(step string) error {
		if strings.HasPrefix(step, "clear servers") {
			return errNoCall
		}
		return nil
	}
	apply(t, h.open(t, t.TempDir()), wanted())
	sameHost(t, h, wantedHost+`value SYSTEM\CurrentControlSet\Services\Tcpip\Parameters\Interfaces\OURS SearchList text`)
}

func without(text string, parts ...string) string {
	var list []string
	for line := range strings.Lines(text) {
		keep := true
		for _, p := range parts {
			keep = keep && !strings.Contains(line, p)
		}
		if keep {
			list = append(list, line)
		}
	}
	return strings.Join(list, "")
}

// TestNoIPv6 names the cause, harms nothing else, and heals when it comes back.
func TestNoIPv6(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := parseHost(without(plainHost, "family 9 IPv6", "Tcpip6") + `
key SYSTEM\CurrentControlSet\Services\Tcpip6\Parameters
value SYSTEM\CurrentControlSet\Services\Tcpip6\Parameters DisabledComponents number 255`)
		o := h.open(t, t.TempDir())
		err := o.Apply(t.Context(), wanted())
		if !errors.Is(err, ErrIPv6Disabled) || !strings.Contains(err.Error(), "DisabledComponents is 0xff") {
			t.Errorf("error %v", err)
		}
		if h.find("rule .coder") < 0 || !strings.Contains(h.String(), "NetBT-OURS NetbiosOptions number 2") {
			t.Errorf("the rest was not done:\n%s", h)
		}
		began := time.Now()
		if err := o.again(t.Context()); !errors.Is(err, ErrIPv6Disabled) || time.Since(began) != 0 {
			t.Errorf("the second time took %v: %v", time.Since(began), err)
		}
		h.lines = append(h.lines, parseHost("family 9 IPv6 metric=auto:5 dad=1 discovery=on managed=on mtu=65535\n"+
			`key SYSTEM\CurrentControlSet\Services\Tcpip6\Parameters\Interfaces\OURS`).lines...)
		if err := o.again(t.Context()); err != nil {
			t.Errorf("after it came back: %v", err)
		}
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestIPv6Reasons(t *testing.T) {
	for components, want := range map[uint32]string{
		0xff: "everywhere", 0xffffffff: "everywhere", 0x10: "network adapters", 0x11: "network adapters", 0: "not bound", 0x20: "not bound",
	} {
		if got := ipv6Reason(components); !strings.Contains(got, want) {
			t.Errorf("%#x: %s", components, got)
		}
	}
}

// TestFamilyComesLate is an adapter that was made a moment ago.
func TestFamilyComesLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := parseHost(without(plainHost, "family 9 IPv6"))
		late := &lateHost{fakeHost: h, after: 4, line: "family 9 IPv6 metric=auto:5 dad=1 discovery=on managed=on mtu=65535"}
		o := h.open(t, t.TempDir())
		o.system = late
		apply(t, o, wanted())
		sameHost(t, h, wantedHost)
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	})
}

type lateHost struct {
	*fakeHost
	after int
	line  string
}

func (l *lateHost) Family(id luid, f family) (settings, error) {
	if l.after--; l.after == 0 {
		l.lines = append(l.lines, l.line)
	}
	return l.fakeHost.Family(id, f)
}

func TestForeignAdapter(t *testing.T) {
	h := parseHost(strings.ReplaceAll(plainHost, "link 9 Causeway OURS", "link 9 Causeway {00000000-0000-0000-0000-0000000000aa}"))
	o := h.open(t, t.TempDir())
	if err := o.Apply(t.Context(), wanted()); !errors.Is(err, ErrForeignInterface) {
		t.Errorf("error %v", err)
	}
	if got := strings.Join(h.transcript, "\n"); got != "add rule .coder fd60:627a:a42b::53" {
		t.Errorf("transcript\n%s", got)
	}
	h = parseHost(without(plainHost, "link 9"))
	if err := h.open(t, t.TempDir()).Apply(t.Context(), wanted()); !errors.Is(err, ErrNoInterface) {
		t.Errorf("error %v", err)
	}
	// People may rename it: the GUID counts.
	h = parseHost(strings.ReplaceAll(plainHost, "link 9 Causeway", "link 9 Renamed"))
	apply(t, h.open(t, t.TempDir()), wanted())
}

func TestAddressElsewhere(t *testing.T) {
	const down = "link 5 Old {00000000-0000-0000-0000-000000000005} down\naddress 5 fd60:627a:a42b::1/128\n"
	h := parseHost(plainHost + down)
	apply(t, h.open(t, t.TempDir()), wanted())
	sameHost(t, h, wantedHost+"link 5 Old {00000000-0000-0000-0000-000000000005} down\n")

	h = parseHost(plainHost + strings.ReplaceAll(down, "down", "up"))
	err := h.open(t, t.TempDir()).Apply(t.Context(), wanted())
	if !errors.Is(err, ErrAddressTaken) || !strings.Contains(err.Error(), `"Old"`) {
		t.Errorf("error %v", err)
	}
	if h.find("address 5") < 0 || h.find("route 9 fd60:627a:a42b::/48") < 0 {
		t.Errorf("the foreign address went, or our route did not come:\n%s", h)
	}
}

// TestAddressOfIdleAdapterStays where Windows does not mind.
func TestAddressOfIdleAdapterStays(t *testing.T) {
	h := parseHost(plainHost + "link 5 Old {00000000-0000-0000-0000-000000000005} down\naddress 5 fd60:627a:a42b::1/128\n")
	o := h.open(t, t.TempDir())
	o.system = lenientHost{h}
	apply(t, o, wanted())
	if h.find("address 5") < 0 || h.find("address 9 fd60:627a:a42b::1/128") < 0 {
		t.Errorf("the host is\n%s", h)
	}
}

type lenientHost struct{ *fakeHost }

func (l lenientHost) AddAddress(id luid, p netip.Prefix) error {
	return l.add(fmt.Sprintf("address %d %s", id, p))
}

func TestTroubleNamesCompetitors(t *testing.T) {
	h := parseHost(plainHost + "link 3 OtherVPN {00000000-0000-0000-0000-000000000003} up\nroute 3 fd60:627a:a42b::/64 :: 0\n")
	h.trouble = errors.New(`rule "Other" sends all names to 10.2.0.1`)
	o := h.open(t, t.TempDir())
	apply(t, o, wanted())
	err := o.Trouble()
	if err == nil || !strings.Contains(err.Error(), `"OtherVPN"`) || !strings.Contains(err.Error(), `"Other" sends all names`) {
		t.Errorf("trouble %v", err)
	}
	apply(t, o, netcfg.Config{})
	if err := o.Trouble(); err == nil || strings.Contains(err.Error(), "OtherVPN") {
		t.Errorf("without a tunnel nobody is in its way: %v", err)
	}
	apply(t, o, wanted())
	if h.trouble = nil; h.remove("route 3 fd60:627a:a42b::/64") != nil || o.again(t.Context()) != nil || o.Trouble() != nil {
		t.Errorf("trouble stays: %v", o.Trouble())
	}
}
