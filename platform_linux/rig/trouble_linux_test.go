package rig

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/causewayhq/causeway/internal/testnet"
)

// soon is within how much of a repair names and routes have to be back.
const soon = 2 * time.Second

// within waits for an answer of the adapter, and fails if it takes too long. It
// asks for a new name each time: resolved goes on for 5 s with a query that was
// under way when the thing broke, and lets others for the same name wait with it.
func (d *daemon) within(what string, limit time.Duration, good func(said) bool) {
	d.t.Helper()
	for began := time.Now(); ; {
		d.lab.asked++
		name := "x" + strconv.Itoa(d.lab.asked) + "." + suffix
		if d.plain {
			name = "main." + suffix // the only one in the hosts file
		}
		answer := d.ask(name)
		took, fine := time.Since(began), good(answer)
		switch {
		case fine && took <= limit:
			d.t.Logf("%s: after %v", what, took)
			return
		case fine:
			d.t.Errorf("%s: only after %v, %v are allowed", what, took, limit)
			return
		case took > limit+5*time.Second:
			d.t.Errorf("%s: not within %v: %+v\n%s", what, took, answer, d.lab.sh(d.t, "ip -6 addr; ip -6 route; ip -6 rule; cat /etc/resolv.conf"))
			return
		}
		d.plain = answer.Mode == "hosts"
	}
}

func well(a said) bool { return a.Error == "" && a.Trouble == "" && len(a.Found) == 1 }

func troubled(words ...string) func(said) bool {
	return func(a said) bool {
		for _, w := range words {
			if !strings.Contains(a.Trouble, w) {
				return false
			}
		}
		return true
	}
}

// TestResolvedTroubles does to a host with systemd-resolved what other programs
// and people do.
func TestResolvedTroubles(t *testing.T) {
	l := boot(t, testnet.Resolved)
	d := l.daemon(t, false)
	d.within("at first", soon, well)
	link := l.sh(t, "readlink /etc/resolv.conf")
	for _, step := range []struct {
		name, does string
		sees       func(said) bool
		limit      time.Duration
	}{
		{"per-link DNS removed", "resolvectl revert " + device, well, soon},
		{"per-link DNS replaced", "resolvectl dns " + device + " 192.0.2.99", well, soon},
		{"DNS-over-TLS on our link", "resolvectl dnsovertls " + device + " yes", well, soon},
		{"DNS-over-TLS for all", "mkdir -p /etc/systemd/resolved.conf.d; printf '[Resolve]\nDNSOverTLS=yes\nDNSSEC=yes\n' > /etc/systemd/resolved.conf.d/z.conf; systemctl restart systemd-resolved", well, soon},
		{"as before", "rm /etc/systemd/resolved.conf.d/z.conf; systemctl restart systemd-resolved", well, soon},
		{"resolved without its memory", "systemctl stop systemd-resolved; rm -rf /run/systemd/resolve/netif/*; systemctl start systemd-resolved", well, soon},
		{"route deleted", "ip -6 route del fd60:627a:a42b::/48 dev " + device, well, soon},
		{"address deleted", "ip addr del fd60:627a:a42b:1::1/128 dev " + device, well, soon},
		{"all addresses deleted", "ip addr flush dev " + device, well, soon},
		{"interface down", "ip link set " + device + " down", well, soon},
		{"another MTU", "ip link set " + device + " mtu 1400", func(a said) bool {
			return well(a) && strings.Contains(l.sh(t, "ip link show "+device), "mtu 1280")
		}, soon},
		{"resolv.conf written by hand", "rm /etc/resolv.conf; printf '# Made by hand\nnameserver 192.0.2.253\n' > /etc/resolv.conf; sed -i 's/resolve.*dns/dns/' /etc/nsswitch.conf", func(a said) bool {
			return a.Mode == "hosts" && a.Error == "" && len(a.Found) == 1 && troubled("192.0.2.253", "past systemd-resolved", "Made by hand")(a)
		}, soon},
		{"resolv.conf as before", "ln -sf " + strings.TrimSpace(link) + " /etc/resolv.conf", func(a said) bool { return a.Mode == "resolved" && well(a) }, soon},
		{"IPv6 switched off", "sysctl -qw net.ipv6.conf.all.disable_ipv6=1", troubled("IPv6 is disabled", "disable_ipv6 is 1"), soon},
		{"IPv6 switched on", "sysctl -qw net.ipv6.conf.all.disable_ipv6=0", well, soon},
		{"IPv6 switched off for us", "sysctl -qw net.ipv6.conf." + device + ".disable_ipv6=1", troubled("IPv6 is disabled", device), soon},
		{"IPv6 switched on for us", "sysctl -qw net.ipv6.conf." + device + ".disable_ipv6=0", well, soon},
		{"another VPN with a default route and DNS for all", "ip tuntap add dev vpn0 mode tun; ip link set vpn0 up; ip addr add fd99::1/64 dev vpn0; ip -6 route add default dev vpn0 metric 1; resolvectl dns vpn0 192.0.2.253; resolvectl domain vpn0 '~.'", well, soon},
		{"a VPN with a part of our prefix", "ip -6 route add fd60:627a:a42b:7::/64 dev vpn0", troubled("fd60:627a:a42b:7::/64", "interface vpn0", "protocol 3"), soon},
		{"without it", "ip -6 route del fd60:627a:a42b:7::/64 dev vpn0", well, soon},
		{"a VPN with rule and table", "ip -6 route add default dev vpn0 table 77; ip -6 rule add pref 99 to fd60:627a:a42b:8::/64 lookup 77; ip -6 route add fd60:627a:a42b:8::/64 dev vpn0 table 77", troubled("interface vpn0", "table 77", "policy rule 99"), soon},
		{"without it", "ip -6 rule del pref 99; ip -6 route flush table 77; ip link del vpn0", well, soon},
		{"the host sleeps and wakes", "systemctl suspend", well, 10 * time.Second},
	} {
		l.sh(t, step.does)
		d.within(step.name, step.limit, step.sees)
		if step.name != "DNS-over-TLS for all" { // the stand-in does not speak it
			l.public(t)
		}
	}
	for began := time.Now(); !strings.Contains(d.log.String(), "event=2"); time.Sleep(50 * time.Millisecond) {
		if time.Since(began) > 10*time.Second {
			t.Fatal("the wake was not told")
		}
	}
}

// TestFight has another program write resolv.conf whenever we do.
func TestFight(t *testing.T) {
	l := boot(t, testnet.Plain)
	l.sh(t, anotherResolv)
	d := l.daemon(t, true)
	d.within("at first", soon, well)
	l.sh(t, `(for i in $(seq 200); do grep -q causeway /etc/resolv.conf && { `+anotherResolv+`; }; sleep 0.05; done) >/dev/null 2>&1 &`)
	d.within("the other is named", 10*time.Second, troubled("Generated by another", "/etc/resolv.conf"))
	d.within("we give up, and names are in the hosts file", 10*time.Second, func(a said) bool {
		return a.Mode == "hosts" && a.Error == "" && len(a.Found) == 1 && troubled("not tried before")(a)
	})
	l.public(t)
	if rounds := strings.Count(d.log.String(), "resolv.conf was rewritten"); rounds > 11 {
		t.Errorf("%d rounds", rounds)
	}
}

// TestDnsmasqRestart measures what public names notice of the restart that each
// change of the drop-in needs.
func TestDnsmasqRestart(t *testing.T) {
	l := boot(t, testnet.Dnsmasq)
	l.sh(t, `(for i in $(seq 20000 20400); do
	began=$(date +%s%N); getent ahostsv4 n$i.public.example >/dev/null || echo failed; ended=$(date +%s%N)
	echo $(((ended - began) / 1000000))
done) > /tmp/asked 2>&1 &
sleep 0.5`)
	d := l.daemon(t, false)
	d.within("at first", soon, well)
	l.sh(t, `until [ $(grep -c -v failed /tmp/asked) -ge 401 ]; do sleep 0.1; done`)
	failed, slowest := 0, 0
	for line := range strings.Lines(l.sh(t, "cat /tmp/asked")) {
		if took, err := strconv.Atoi(strings.TrimSpace(line)); err != nil {
			failed++
		} else {
			slowest = max(slowest, took)
		}
	}
	t.Logf("401 public names around a restart of dnsmasq: %d failed, the slowest took %d ms", failed, slowest)
	if slowest > 5000 {
		t.Error("slow")
	}
}
