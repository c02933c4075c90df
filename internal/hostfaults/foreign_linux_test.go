package hostfaults

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/causewayhq/causeway/internal/rig"
	"github.com/causewayhq/causeway/internal/testnet"
)

const (
	// soon is when names and routes have to be back after a fault, and how
	// exactly the load can tell.
	soon = 2*time.Second + 500*time.Millisecond
	// lasting is how long a fault is left in place, where it has a length.
	lasting = 6 * time.Second
	// uncounted: lookups may fail while what they need is away. Wrong answers
	// are allowed nowhere.
	uncounted = 1 << 20
)

// mends is what a fault may cost that takes something away which comes back.
var mends = limits{failed: uncounted, silence: 3 * time.Second, back: soon}

// unanswered is for a resolver that dies with questions in its hands: who asked
// waits for 5 s.
var unanswered = limits{failed: uncounted, silence: 3 * time.Second, back: 5*time.Second + soon}

// foreignFaults are those of other programs on the host.
func foreignFaults() []fault {
	resolved, plain := []testnet.Flavour{testnet.Resolved}, []testnet.Flavour{testnet.Plain}
	managed := []testnet.Flavour{testnet.NetworkManager, testnet.Dnsmasq}
	listed := []testnet.Flavour{testnet.Plain, testnet.OpenResolv, testnet.Resolvconf}
	list := []fault{
		{name: "ResolvedRestarted", flavours: resolved, short: true, run: done("systemctl restart systemd-resolved"), limits: unanswered, settle: 5500 * time.Millisecond, after: askedSoon},
		{name: "ResolvedKilled", flavours: resolved, run: done("systemctl kill -s KILL systemd-resolved"), limits: unanswered, settle: 5500 * time.Millisecond, after: askedSoon},
		{name: "LinkDNSRemoved", flavours: resolved, run: done("resolvectl revert " + device), limits: mends},
		{name: "ManagerRestarted", flavours: managed, run: done("systemctl restart NetworkManager"), limits: mends},
		{name: "ManagerReloaded", flavours: managed, run: done("busctl call org.freedesktop.NetworkManager /org/freedesktop/NetworkManager org.freedesktop.NetworkManager Reload u 0"), limits: mends},
		{name: "RouteDeleted", flavours: every, short: true, run: done("ip -6 route del fd60:627a:a42b::/48 dev " + device), limits: mends},
		{name: "AddressDeleted", flavours: every, run: done("ip -6 addr flush dev " + device + " scope global"), limits: mends},
		{name: "LinkDeleted", flavours: every, run: done("ip link del " + device), limits: mends},
		{name: "LinkDown", flavours: every, run: done("ip link set " + device + " down"), limits: mends},
		{name: "HostsTrampled", flavours: plain, run: done(`printf '# written by somebody else\n127.0.0.1 localhost\n' > /etc/hosts`), limits: mends},
		{name: "HostsReplaced", flavours: plain, run: done(`printf '127.0.0.1 localhost\n' > /etc/hosts.new; mv /etc/hosts.new /etc/hosts`), limits: mends},
		{
			name: "ResolverBypassed", flavours: resolved, run: bypass, limits: limits{failed: uncounted, silence: 3 * time.Second, back: soon},
			after: backInResolved,
		},
		{name: "OtherVPN", flavours: []testnet.Flavour{testnet.Resolved, testnet.NetworkManager, testnet.Plain}, run: otherVPN, limits: limits{failed: uncounted, silence: 9 * time.Second, back: 9 * time.Second}},
		{name: "Suspended", flavours: []testnet.Flavour{testnet.Resolved, testnet.NetworkManager, testnet.Plain}, run: suspend, limits: limits{failed: uncounted, silence: lasting + 9*time.Second, back: lasting + 3*time.Second}, after: resumed},
		{name: "IPv6Disabled", flavours: []testnet.Flavour{testnet.Resolved, testnet.Plain}, run: disableIPv6, limits: limits{failed: uncounted, silence: 3 * lasting, back: lasting + 3*time.Second}, after: namesSoon},
	}
	splits := []testnet.Flavour{testnet.Dnsmasq} // its dnsmasq is told of our suffixes where forwarding is asked for
	for _, f := range list[:slices.IndexFunc(list, func(f fault) bool { return f.name == "HostsTrampled" })] {
		if slices.Contains(f.flavours, testnet.Dnsmasq) {
			f.forward, f.flavours = true, splits
			list = append(list, f)
		}
	}
	return append(list,
		fault{name: "RuleDiverts", flavours: []testnet.Flavour{testnet.Resolved, testnet.Plain}, run: divert, limits: limits{failed: uncounted, silence: 3 * lasting, back: lasting + 3*time.Second, canary: soon}, after: namesSoon},
		fault{name: "ResolvTrampled", forward: true, flavours: listed, run: done(`printf '# by another\nnameserver ` + testnet.ResolverAddr + `\n' > /etc/resolv.conf`), limits: mends, after: firstAgain},
		fault{name: "ResolvReplaced", forward: true, flavours: plain, run: done(`cat /etc/resolv.conf | grep -v fd60: | grep -v causeway > /etc/resolv.conf.new; mv /etc/resolv.conf.new /etc/resolv.conf`), limits: mends, after: firstAgain},
		fault{name: "LinkDeleted", forward: true, flavours: listed, run: done("ip link del " + device), limits: mends, after: firstAgain},
	)
}

// firstAgain wants our server to be the first in resolv.conf.
func firstAgain(t *testing.T, h *house, _ time.Time) {
	must(t, rig.Eventually(within(t, 10*time.Second), func() error {
		content := h.sh(t, "cat /etc/resolv.conf")
		if first := h.sh(t, "grep -m 1 ^nameserver /etc/resolv.conf"); first != "nameserver "+sentinelAddr {
			return fmt.Errorf("our server is not the first: %s", content)
		}
		return nil
	}))
}

// divert has a policy rule of another program lead our packets elsewhere, for a
// while.
func divert(t *testing.T, h *house) time.Time {
	h.sh(t, `ip -6 route add fd60:627a:a42b::/48 dev eth0 table 77; ip -6 rule add to fd60:627a:a42b::/48 lookup 77 prio 50`)
	began := time.Now()
	must(t, rig.Eventually(within(t, 10*time.Second), func() error {
		output, err := h.Causeway(t.Context(), "status")
		if !strings.Contains(output, "policy rule 50") || !strings.Contains(output, "eth0") {
			return fmt.Errorf("status does not name the rule: %w: %s", err, output)
		}
		return nil
	}))
	figure(t, "a rule diverts our packets: status names it after %.2f s", time.Since(began).Seconds())
	hold(t, max(0, lasting-time.Since(began)))
	h.sh(t, `ip -6 rule del to fd60:627a:a42b::/48 lookup 77 prio 50; ip -6 route flush table 77`)
	over = time.Now()
	return over
}

// over is when the fault under way ended, for what is checked afterwards.
var over time.Time

// done is a fault that is a single act.
func done(script string) func(*testing.T, *house) time.Time {
	return func(t *testing.T, h *house) time.Time {
		h.sh(t, script)
		over = time.Now()
		return over
	}
}

// bypass writes a resolv.conf by hand, as an installer does, and takes
// resolved out of libc's way too; then somebody puts both back. Names go to
// the hosts file meanwhile, and public ones to the server that was written.
func bypass(t *testing.T, h *house) time.Time {
	h.sh(t, `cp -P /etc/resolv.conf /run/kept.link; cp /etc/nsswitch.conf /run/kept.nsswitch
sed -i 's/^hosts:.*/hosts: files dns/' /etc/nsswitch.conf
rm /etc/resolv.conf; printf '# by hand\nnameserver `+testnet.ResolverAddr+`\n' > /etc/resolv.conf`)
	began := time.Now()
	var last string
	must(t, rig.Eventually(within(t, soon), func() error {
		output, err := h.system.Run(t.Context(), "getent", "ahostsv6", rig.Name)
		last = output
		if err != nil || !strings.HasPrefix(output, h.addr) {
			return fmt.Errorf("%w: %s", err, output)
		}
		return nil
	}))
	figure(t, "resolv.conf written by hand: libc finds %s again after %.2f s (%s)", rig.Name, time.Since(began).Seconds(), strings.TrimSpace(strings.SplitN(last, "\n", 2)[0]))
	h.sh(t, `rm /etc/resolv.conf; mv /run/kept.link /etc/resolv.conf; cp /run/kept.nsswitch /etc/nsswitch.conf`)
	over = time.Now()
	return over
}

// backInResolved wants the sentinel out of the hosts file again, which then is
// no more than the net.
func backInResolved(t *testing.T, h *house, _ time.Time) {
	must(t, rig.Eventually(within(t, 10*time.Second), func() error {
		content := h.sh(t, "cat /etc/hosts")
		if strings.Contains(content, sentinel) || !strings.Contains(content, rig.Name) {
			return fmt.Errorf("the hosts file is not the net: %s", content)
		}
		return nil
	}))
}

// The other VPN: its far end on the internet, and the addresses inside.
const (
	vpnHost   = "192.0.2.50"
	vpnPort   = "4500"
	vpnDevice = "vpn0"
)

// otherVPN brings another VPN up, with a default route and a name server of
// its own, for all names, which knows nothing of ours; and takes it down
// again after a while.
func otherVPN(t *testing.T, h *house) time.Time {
	far := h.vpnServer(t)
	defer far.Kill()
	near, err := h.Start("vpn-near", h.On(t.Context(), h.Path("probe"), "vpn", vpnDevice, ":0", vpnHost+":"+vpnPort))
	must(t, err)
	defer near.Kill()
	must(t, near.WaitFor(within(t, 10*time.Second), "ready"))
	names := `cp -P /etc/resolv.conf /run/kept.link; rm /etc/resolv.conf; printf '# Generated by vpn0\nnameserver ` + testnet.ResolverAddr + `\n' > /etc/resolv.conf`
	back := `rm /etc/resolv.conf; mv /run/kept.link /etc/resolv.conf`
	if h.flavour == testnet.Resolved {
		names = `resolvectl dns ` + vpnDevice + ` ` + testnet.ResolverAddr + `; resolvectl domain ` + vpnDevice + ` '~.'; resolvectl default-route ` + vpnDevice + ` yes`
		back = ":"
	}
	h.sh(t, `gw=$(ip -4 route show default | awk '{print $3; exit}')
ip addr add 10.99.0.2/24 dev `+vpnDevice+`; ip link set `+vpnDevice+` up
ip route add `+vpnHost+` via $gw dev eth0
ip route add 0.0.0.0/1 dev `+vpnDevice+`; ip route add 128.0.0.0/1 dev `+vpnDevice+`
`+names)
	up := time.Now()
	at, err := h.load.Healthy(within(t, 40*time.Second), up, lasting)
	must(t, err)
	figure(t, "another VPN up: all is well %.2f s later", at.Sub(up).Seconds())
	if status := h.sh(t, "ip -4 route get "+testnet.ServerAddr); !strings.Contains(status, vpnDevice) {
		t.Errorf("the control plane is not behind the VPN: %s", status)
	}
	h.sh(t, back+`; ip link del `+vpnDevice+`; ip route del `+vpnHost)
	over = time.Now()
	return over
}

// vpnServer is the far end, which lets everything out to the internet.
func (h *house) vpnServer(t *testing.T) *rig.Program {
	t.Helper()
	host, err := h.Net.AddHost(t.Context(), "vpn", vpnHost)
	must(t, err)
	far, err := h.Start("vpn-far", host.Command(t.Context(), h.Path("probe"), "vpn", vpnDevice, ":"+vpnPort))
	must(t, err)
	must(t, far.WaitFor(within(t, 10*time.Second), "ready"))
	_, err = host.Shell(t.Context(), `ip addr add 10.99.0.1/24 dev `+vpnDevice+`; ip link set `+vpnDevice+` up; sysctl -qw net.ipv4.ip_forward=1
nft 'table inet site { chain post { type nat hook postrouting priority srcnat; oifname "eth0" masquerade; }; chain input { type filter hook input priority 0; iifname "eth0" udp dport != `+vpnPort+` ct state new drop; }; }'`)
	must(t, err)
	return far
}

// suspend has logind suspend the host. What stands for the sleep is a hook of
// systemd-sleep that waits while every process of the host is frozen.
func suspend(t *testing.T, h *house) time.Time {
	awake := filepath.Join(h.system.Share, "awake")
	must(t, os.RemoveAll(awake))
	h.sh(t, `mkdir -p /usr/lib/systemd/system-sleep
printf '#!/bin/sh\n[ "$1" = pre ] || exit 0\ntouch /run/asleep\nwhile [ ! -e /run/host/awake ]; do sleep 0.05; done\n' > /usr/lib/systemd/system-sleep/rig
chmod 755 /usr/lib/systemd/system-sleep/rig; rm -f /run/asleep
systemctl suspend`)
	must(t, rig.Eventually(within(t, 20*time.Second), func() error {
		_, err := h.system.Run(t.Context(), "test", "-e", "/run/asleep")
		return err
	}))
	must(t, h.system.Freeze(t.Context()))
	hold(t, lasting)
	must(t, os.WriteFile(awake, nil, 0o644))
	over = time.Now()
	must(t, h.system.Thaw(t.Context()))
	return over
}

// resumed wants logind to have told everybody of the wake.
func resumed(t *testing.T, h *house, began time.Time) {
	if output := h.sh(t, "journalctl --no-pager -u systemd-logind | tail -3"); !strings.Contains(output, "Operation 'sleep' finished") {
		t.Errorf("logind has not resumed: %s", output)
	}
	namesSoon(t, h, began)
}

// disableIPv6 switches IPv6 off for all interfaces, and on again.
func disableIPv6(t *testing.T, h *house) time.Time {
	h.sh(t, "sysctl -qw net.ipv6.conf.all.disable_ipv6=1")
	began := time.Now()
	must(t, rig.Eventually(within(t, 10*time.Second), func() error {
		output, err := h.Causeway(t.Context(), "status")
		if !strings.Contains(output, "IPv6 is disabled") {
			return fmt.Errorf("status does not name the cause: %w: %s", err, output)
		}
		return nil
	}))
	figure(t, "IPv6 disabled: status names the cause after %.2f s", time.Since(began).Seconds())
	hold(t, max(0, lasting-time.Since(began)))
	if cost := h.load.Cost(began); cost.PublicFailed > 0 {
		t.Errorf("%d lookups of public names failed: %s", cost.PublicFailed, strings.Join(cost.Told, "\n"))
	}
	h.sh(t, "sysctl -qw net.ipv6.conf.all.disable_ipv6=0")
	over = time.Now()
	return over
}

// namesSoon holds names and routes to their time, where the session needs more
// than they: TCP repeats itself after as long again as it was silent.
func namesSoon(t *testing.T, h *house, _ time.Time) {
	var last time.Duration
	for _, e := range h.load.Since(over) {
		if e.Kind == "failed" || e.Kind == "slow" || e.Kind == "wrong" {
			last = max(last, e.Time().Sub(over))
		}
	}
	figure(t, "the last lookup that was not answered at once ended %.2f s after the fault", last.Seconds())
	if last > soon {
		t.Errorf("names are back after %v, allowed are %v", last, soon)
	}
	if routes := h.sh(t, "ip -6 route show dev "+device); !strings.Contains(routes, "fd60:627a:a42b::/48") {
		t.Errorf("our route is missing: %s", routes)
	}
}

// askedSoon holds names to their time by when the lookup began.
func askedSoon(t *testing.T, h *house, _ time.Time) {
	var last time.Duration
	for _, e := range h.load.Since(over) {
		if slices.Contains([]string{"failed", "slow", "canary-failed", "canary-wrong", "canary-slow"}, e.Kind) {
			last = max(last, e.Time().Sub(over)-time.Duration(e.Seconds*float64(time.Second)))
		}
	}
	figure(t, "the last lookup that was not answered at once began %.2f s after the fault", last.Seconds())
	if last > soon {
		t.Errorf("names are back after %v, allowed are %v", last, soon)
	}
}

// state is what the host looks like, for a test that failed.
func (h *house) state() string {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	output, err := h.system.Run(ctx, "sh", "-c", `ip addr show dev `+device+`; ip -6 route; ip rule; resolvectl status --no-pager; ls -l /etc/resolv.conf; cat /etc/resolv.conf /etc/hosts
resolvectl log-level debug; timeout 6 resolvectl query --cache=no `+rig.Name+`; journalctl --no-pager -o short-precise -u systemd-resolved -n 120`)
	if err != nil {
		output += err.Error()
	}
	return output
}
