package doctorrig

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/causewayhq/causeway/internal/rig"
	"github.com/causewayhq/causeway/internal/testnet"
)

// fault is one thing that is wrong on the host.
type fault struct {
	name   string
	sample bool
	// plant makes it and returns what takes it away again; nil: --fix does.
	plant func(*testing.T, *house) (undo func())
	as    []string // who runs doctor; nil: root
	flags []string
	// check, result, words and exit are what doctor has to say.
	check, result string
	words         []string
	exit          int
	also          []string // checks that rightly complain too, or may: the tunnel is made anew
	fixable       bool
	needsRoot     bool
	inVain        bool // --fix tries, and says that it did not help
}

func faults() []fault {
	return []fault{
		{name: "ServiceStopped", sample: true, plant: stopped, as: asUser, check: "service", result: "failed", words: []string{"is stopped", "systemctl start causewayd"}, exit: 3, fixable: true, needsRoot: true},
		{name: "ServiceWedged", plant: wedged, check: "service", result: "failed", words: []string{"does not answer", "(process "}, exit: 6, fixable: true},
		{name: "NameTaken", plant: nameTaken, check: "service", result: "failed", words: []string{"cannot start", "(exit code 13)", "causeway0", "veth", "journalctl"}, exit: 3},
		{name: "SettingsWrong", plant: settingsWrong, check: "service", result: "failed", words: []string{"cannot start", "(exit code 10)", "settings file", "nonsense"}, exit: 3},
		{name: "FirewallDrops", plant: firewall("output", "oifname"), check: "passage", result: "failed", words: []string{"does not let packets", "operation not permitted", "a firewall on this host", "nft list ruleset"}, exit: 8},
		{name: "FirewallDropsAnswers", plant: firewall("input", "iifname"), check: "passage", result: "failed", words: []string{"are not answered", "interface and route are right", "a firewall on this host", "nft list ruleset"}, exit: 8},
		{name: "IPv6Off", plant: ipv6Off, check: "interface", result: "failed", words: []string{"IPv6 is switched off", "conf/causeway0/disable_ipv6 is 1"}, exit: 8},
		{name: "SocketUnreadable", plant: socketMode, as: asUser, check: "socket", result: "failed", words: []string{"0600", "/run/causeway/causeway.sock"}, exit: 5, fixable: true, needsRoot: true},
		{name: "DirectoryClosed", plant: directoryMode, as: asUser, check: "socket", result: "failed", words: []string{"0700", "/run/causeway"}, exit: 5, fixable: true, needsRoot: true},
		{name: "RouteShadowed", sample: true, plant: shadowed, check: "route", result: "failed", words: []string{"tun7", "probe (process", "fd60:627a:a42b::/64"}, exit: 8},
		{name: "RuleShadowed", plant: ruled, check: "route", result: "failed", words: []string{"tun7", "probe (process", "lookup 777"}, exit: 8},
		{name: "ResolvedBypassed", plant: bypassed, check: "resolver", result: "warning", words: []string{"/etc/resolv.conf", testnet.ResolverAddr, "by hand"}, exit: 0},
		{name: "ResolvedBypassedByAll", plant: bypassedByAll, check: "resolver", result: "warning", words: []string{"/etc/resolv.conf", testnet.ResolverAddr, "by way of hosts"}, exit: 0},
		{name: "ForeignTLS", plant: overTLS, check: "dns-over-tls", result: "warning", words: []string{"/etc/systemd/resolved.conf.d/other.conf"}, exit: 0},
		{name: "ClockOff", plant: clockOff, check: "clock", result: "failed", words: []string{"10m", "behind"}, exit: 8},
		{name: "ProxyOfService", plant: proxyOfService, check: "proxy", result: "failed", words: []string{"HTTP_PROXY", "127.0.0.1:9", "daemon's environment"}, exit: 8},
		{name: "ProxyOfUser", sample: true, plant: nothingPlanted, as: append([]string{"env", "HTTP_PROXY=http://me:secret@127.0.0.1:9"}, asUser...), check: "proxy", result: "warning", words: []string{"HTTP_PROXY", "127.0.0.1:9", "your environment"}, exit: 0},
		{name: "ControlBlackholed", plant: controlCut, check: "control-plane", result: "failed", words: []string{"no answer within 5s", "192.0.2.10:7080"}, exit: 8},
		{name: "RelayBlocked", sample: true, plant: relayCut, check: "relay", result: "failed", words: []string{"relay"}, exit: 8},
		{name: "AgentStopped", plant: agentStopped, check: "agents", result: "failed", words: []string{rig.Workspace}, exit: 8},
		{name: "LinkDNSRemoved", plant: reverted, check: "link-dns", result: "failed", words: []string{"no DNS settings for causeway0"}, exit: 8, fixable: true},
		{name: "InterfaceGone", plant: unplugged, check: "tunnel", result: "failed", words: []string{"causeway0", "a sandbox forbids"}, exit: 8, also: []string{"control-plane", "agents", "rest"}, inVain: true},
		{name: "TokenExpired", plant: expired, check: "sign-in", result: "failed", words: []string{"refuses the token", "expired", "causeway login"}, exit: 4},
		{name: "PathTooSmall", plant: hole, check: "path-mtu", result: "warning", words: []string{rig.Workspace}, exit: 0},
	}
}

func nothingPlanted(*testing.T, *house) func() { return func() {} }

func stopped(t *testing.T, h *house) func() {
	h.sh(t, "systemctl stop "+unit)
	return nil
}

// wedged stops every thread of the daemon; the watchdog would end it after a
// minute.
func wedged(t *testing.T, h *house) func() {
	h.sh(t, "systemctl kill --signal=STOP --kill-whom=main "+unit)
	for _, command := range []string{"status", "list"} {
		h.sh(t, "code=0; timeout 9 /usr/bin/causeway "+command+" || code=$?; test $code = 6")
	}
	return nil
}

// nameTaken: another program's interface has our name, so that the service
// fails again and again.
func nameTaken(t *testing.T, h *house) func() {
	h.sh(t, "systemctl stop "+unit+"; ip link add causeway0 type veth peer name veth9; systemctl start --no-block "+unit)
	return func() { h.sh(t, "ip link del causeway0") }
}

func settingsWrong(t *testing.T, h *house) func() {
	h.sh(t, "mkdir -p /etc/causeway; echo 'nonsense: 1' > /etc/causeway/causeway.yaml; systemctl restart --no-block "+unit)
	return func() { h.sh(t, "rm /etc/causeway/causeway.yaml") }
}

// firewall: it lets nothing of the host into the tunnel, which the sender is
// told, or nothing out of it, which is silence. The host itself has no nft to
// look the rule up with.
func firewall(hook, key string) func(t *testing.T, h *house) func() {
	return func(t *testing.T, h *house) func() {
		_, err := h.Net.Client.Shell(t.Context(), `nft -f - <<'END'
table inet strict {
	chain strict { type filter hook `+hook+` priority 0; `+key+` "causeway0" drop; }
}
END`)
		must(t, err)
		return func() {
			_, err := h.Net.Client.Shell(context.WithoutCancel(t.Context()), "nft delete table inet strict")
			must(t, err)
		}
	}
}

func ipv6Off(t *testing.T, h *house) func() {
	h.sh(t, "sysctl -qw net.ipv6.conf.causeway0.disable_ipv6=1")
	return func() { h.sh(t, "sysctl -qw net.ipv6.conf.causeway0.disable_ipv6=0") }
}

func socketMode(t *testing.T, h *house) func() {
	h.sh(t, "chmod 600 /run/causeway/causeway.sock")
	return nil
}

func directoryMode(t *testing.T, h *house) func() {
	h.sh(t, "chmod 700 /run/causeway")
	return nil
}

// otherVPN is a program that holds a TUN device.
func (h *house) otherVPN(t *testing.T) *rig.Program {
	program, err := h.Start("vpn", h.On(context.Background(), "/usr/bin/probe", "tun", "tun7"))
	must(t, err)
	must(t, program.WaitFor(within(t, 10*time.Second), "ready"))
	return program
}

func (h *house) endVPN(t *testing.T, vpn *rig.Program) {
	h.sh(t, "pkill -x probe")
	<-vpn.Done()
}

// shadowed: its routes are more specific than ours.
func shadowed(t *testing.T, h *house) func() {
	vpn := h.otherVPN(t)
	h.sh(t, "ip link set tun7 up; ip -6 route add fd60:627a:a42b::/64 dev tun7")
	return func() { h.endVPN(t, vpn) }
}

// ruled: its policy rule comes before the main table.
func ruled(t *testing.T, h *house) func() {
	vpn := h.otherVPN(t)
	h.sh(t, "ip link set tun7 up; ip -6 route add default dev tun7 table 777; ip -6 rule add pref 100 lookup 777")
	return func() {
		h.sh(t, "ip -6 rule del pref 100")
		h.endVPN(t, vpn)
	}
}

// bypassed: somebody has replaced the link to the stub by a file.
func bypassed(t *testing.T, h *house) func() {
	link := h.sh(t, "readlink /etc/resolv.conf")
	h.sh(t, "rm /etc/resolv.conf; printf 'nameserver "+testnet.ResolverAddr+"\\n' > /etc/resolv.conf")
	return func() { h.sh(t, "ln -sf "+link+" /etc/resolv.conf") }
}

// bypassedByAll: nothing leads to systemd-resolved any more, so that the daemon
// takes to the hosts file.
func bypassedByAll(t *testing.T, h *house) func() {
	undo := bypassed(t, h)
	h.sh(t, "cp /etc/nsswitch.conf /root/; sed -i 's/^hosts:.*/hosts: files dns/' /etc/nsswitch.conf")
	must(t, rig.Eventually(within(t, 40*time.Second), func() error {
		_, err := h.Client(t.Context(), "sh", "-c", "causeway status --json | grep '\"dns_mode\":\"hosts\"' && getent ahostsv6 "+rig.Name)
		return err
	}))
	return func() {
		undo()
		h.sh(t, "cp /root/nsswitch.conf /etc/")
	}
}

func overTLS(t *testing.T, h *house) func() {
	h.sh(t, `mkdir -p /etc/systemd/resolved.conf.d
printf '[Resolve]\nDNSOverTLS=yes\n' > /etc/systemd/resolved.conf.d/other.conf
systemctl restart systemd-resolved`)
	// While resolved is away the names go by the hosts file.
	must(t, rig.Eventually(within(t, 20*time.Second), func() error {
		output, err := h.Causeway(t.Context(), "status", "--json")
		if !strings.Contains(output, `"dns_mode": "resolved"`) && !strings.Contains(output, `"dns_mode":"resolved"`) {
			return fmt.Errorf("not by way of resolved: %w: %s", err, output)
		}
		return nil
	}))
	return func() { h.sh(t, "rm /etc/systemd/resolved.conf.d/other.conf; systemctl restart systemd-resolved") }
}

// clockOff: clocks cannot differ between these hosts, so a proxy in front of
// the control plane tells another time. What doctor sees is the same.
func clockOff(t *testing.T, h *house) func() {
	proxy, err := h.Start("clock", h.Net.Server.Command(context.Background(), h.Path("probe"), "clock-proxy", ":7099", "127.0.0.1:"+h.Port(), "10m"))
	must(t, err)
	must(t, proxy.WaitFor(within(t, 10*time.Second), "ready"))
	must(t, h.Net.Server.ResetAndRedirect(t.Context(), h.Port(), "7099", router))
	return func() {
		must(t, h.Net.Server.Unredirect(context.WithoutCancel(t.Context())))
		proxy.Kill()
	}
}

func proxyOfService(t *testing.T, h *house) func() {
	h.sh(t, `mkdir -p /etc/systemd/system/`+unit+`.d
printf '[Service]\nEnvironment=HTTP_PROXY=http://127.0.0.1:9\n' > /etc/systemd/system/`+unit+`.d/proxy.conf
systemctl daemon-reload; systemctl restart `+unit)
	return func() {
		h.sh(t, "rm /etc/systemd/system/"+unit+".d/proxy.conf; systemctl daemon-reload; systemctl restart "+unit)
	}
}

func controlCut(t *testing.T, h *house) func() {
	must(t, h.Net.Server.Cut(t.Context(), router))
	return func() { must(t, h.Net.Server.Heal(context.WithoutCancel(t.Context()))) }
}

func relayCut(t *testing.T, h *house) func() {
	must(t, h.relay.Cut(t.Context(), router))
	return func() { must(t, h.relay.Heal(context.WithoutCancel(t.Context()))) }
}

func agentStopped(t *testing.T, h *house) func() {
	must(t, h.Agent.Stop())
	return func() {
		must(t, h.StartAgent(within(t, 30*time.Second), h.agent))
		h.direct(t)
	}
}

// hole: the way between the two sites drops what is larger than a full-size
// packet of the tunnel needs, and says nothing.
func hole(t *testing.T, h *house) func() {
	_, err := h.Net.ClientRouter.Shell(t.Context(), `nft -f - <<'END'
table inet hole {
	chain forward { type filter hook forward priority -20; meta l4proto udp meta length > 1300 drop; }
}
END`)
	must(t, err)
	// A hole below a path that was good is found out by traffic, which is none
	// here: this one was there before the daemon.
	h.sh(t, "systemctl stop "+unit+"; systemctl start "+unit)
	must(t, rig.Eventually(within(t, time.Minute), func() error {
		_, err := h.Client(t.Context(), "sh", "-c", "causeway ping -c 1 "+rig.Name+" && causeway status --json | grep path-mtu")
		return err
	}))
	return func() {
		_, err := h.Net.ClientRouter.Shell(context.WithoutCancel(t.Context()), "nft delete table inet hole")
		must(t, err)
		h.direct(t)
	}
}

// repeat runs a command on the host again and again for some seconds: what
// daemons put back, another program takes away again.
func (h *house) repeat(t *testing.T, seconds, command string) func() {
	cmd := h.On(context.Background(), "timeout", seconds, "sh", "-c", "while :; do "+command+"; sleep 0.02; done")
	program, err := h.Start("repeat", cmd)
	must(t, err)
	return func() { <-program.Done() }
}

func reverted(t *testing.T, h *house) func() {
	return h.repeat(t, "4", "resolvectl revert causeway0 2>/dev/null")
}

// unplugged takes the device away, and with it the right to make another: the
// daemon would have a new one within a tenth of a second.
func unplugged(t *testing.T, h *house) func() {
	h.sh(t, "systemctl set-property --runtime "+unit+" DeviceAllow=; ip link del causeway0")
	return func() {
		h.sh(t, "rm -rf /run/systemd/system.control/"+unit+".d; systemctl daemon-reload; systemctl restart "+unit)
	}
}

// expired: the token's time is over, and the daemon has to dial again.
func expired(t *testing.T, h *house) func() {
	ctx := within(t, time.Minute)
	const lifetime = 5 * time.Second
	made := time.Now()
	output, err := h.Admin(ctx, "token", "create", rig.Owner, "--lifetime", lifetime.String())
	must(t, err)
	h.login(t, strings.TrimSpace(output))
	must(t, rig.Eventually(ctx, func() error {
		_, err := h.Causeway(ctx, "status")
		return err
	}))
	<-time.After(time.Until(made.Add(lifetime + time.Second))) // the server counts in seconds
	must(t, h.Server.Stop())
	must(t, h.StartServer(ctx))
	return func() { h.login(t, h.token) }
}
