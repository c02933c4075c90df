package doctor

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

func examine(t *testing.T, host *fakeHost) map[string]Outcome {
	t.Helper()
	found := map[string]Outcome{}
	for _, outcome := range Examine(t.Context(), host, func(Outcome) {}) {
		found[outcome.ID] = outcome
	}
	if len(found) != len(checks) {
		t.Fatalf("%d outcomes of %d checks", len(found), len(checks))
	}
	return found
}

func TestHealthyHost(t *testing.T) {
	host := &fakeHost{facts: wellFacts()}
	for id, outcome := range examine(t, host) {
		if outcome.Result != OK || outcome.Cause == "" || outcome.Remedy != "" {
			t.Errorf("%s: %+v", id, outcome)
		}
	}
	if slices.Sort(host.measured); len(slices.Compact(host.measured)) != len(host.measured) {
		t.Errorf("measured twice: %v", host.measured)
	}
}

// problem adds one to the status.
func problem(code string) func(*Facts) {
	return func(f *Facts) {
		f.Tunnel.Status.State = localv1.State_DEGRADED
		f.Tunnel.Status.Problems = append(f.Tunnel.Status.Problems, &localv1.Problem{Code: code, Cause: "cause of " + code, Remedy: "remedy of " + code})
	}
}

var errNotRunning = &localapi.Error{Code: localapi.CodeNotRunning, Cause: "there is no socket"}

func noDaemon(active, result string) func(*Facts) {
	return func(f *Facts) {
		f.Daemon.Dial, f.Daemon.PIDs, f.Daemon.Socket = errNotRunning, nil, Socket{Path: "/run/causeway/causeway.sock"}
		f.Daemon.Unit.Active, f.Daemon.Unit.Result = active, result
	}
}

func failing(active string, ended Ended) func(*Facts) {
	return func(f *Facts) {
		noDaemon(active, "exit-code")(f)
		f.Daemon.Unit.Restarts, f.Daemon.Ended = 4, ended
	}
}

func astray(way Route) func(*Facts) {
	return func(f *Facts) {
		way.To = netip.MustParseAddr("fd60:627a:a42b::53")
		f.Host.Astray = []Route{way}
	}
}

func bypass(mode string, libc bool) func(*Facts) {
	return func(f *Facts) {
		f.Names.Mode = mode
		f.Names.ResolvConf = ResolvConf{Servers: []netip.Addr{netip.MustParseAddr("192.0.2.53")}}
		f.Names.Direct = Lookup{Asked: true, Err: errors.New("NXDOMAIN")}
		f.Names.Libc = Lookup{Asked: true, Right: libc, Err: errors.New("no such name")}
	}
}

// closed says that a directory cannot be passed, by this user or by others.
func closed(dir string, forUs bool) func(*Facts) {
	return func(f *Facts) {
		f.Daemon.Socket.Closed, f.Daemon.Socket.ClosedMode = dir, 0o700
		if forUs {
			f.Daemon.Dial = &localapi.Error{Code: localapi.CodePermission, Cause: "denied"}
		}
	}
}

// TestEachFault: every judgement of every check, from facts alone.
func TestEachFault(t *testing.T) {
	for name, test := range map[string]struct {
		break_ func(*Facts)
		check  string
		result Result
		words  string // parts of cause and remedy, separated by |
		code   localapi.Code
		mend   Mend
	}{
		"stopped":   {noDaemon("inactive", "success"), idService, Failed, "is stopped|systemctl start causewayd", 3, MendStart},
		"crashed":   {noDaemon("failed", "exit-code"), idService, Failed, "has failed (exit-code)|journalctl", 3, MendStart},
		"restarts":  {noDaemon("activating", "exit-code"), idService, Failed, "is starting (exit-code)|journalctl", 3, MendNone},
		"no socket": {noDaemon("active", "success"), idService, Failed, "nobody at /run/causeway|--socket", 3, MendRestart},
		"disabled": {func(f *Facts) {
			noDaemon("inactive", "")(f)
			f.Daemon.Unit.Enabled = "disabled"
		}, idService, Failed, "will not start with the host|enable --now", 3, MendStart},
		"masked": {func(f *Facts) {
			noDaemon("inactive", "")(f)
			f.Daemon.Unit.Load = "masked"
		}, idService, Failed, "masked|unmask", 3, MendNone},
		"not installed": {func(f *Facts) {
			noDaemon("inactive", "")(f)
			f.Daemon.Unit.Load = "not-found"
		}, idService, Failed, "not installed|causewayd run", 3, MendNone},
		"leftover": {func(f *Facts) {
			noDaemon("inactive", "")(f)
			f.Daemon.Leftover = "causeway0"
		}, idService, Failed, "causeway0 of an earlier one|causewayd cleanup", 3, MendStart},
		"cannot start": {failing("activating", Ended{Exit: 13, Cause: "open TUN device causeway0: the name is taken", Remedy: "rename it"}),
			idService, Failed, "cannot start: the TUN device cannot be made (exit code 13), and was tried again 4 times: open TUN device|rename it; its log: sudo journalctl -u causewayd -n 20; systemd goes on", 3, MendNone},
		"cannot start, journal closed": {failing("activating", Ended{Exit: 10}), idService, Failed, "settings file is wrong (exit code 10)|correct /etc/causeway/causeway.yaml", 3, MendNone},
		"cannot start while asked": {func(f *Facts) {
			f.Daemon.Call, f.Daemon.Unit.Active, f.Daemon.Ended = context.DeadlineExceeded, "activating", Ended{Exit: 13}
		}, idService, Failed, "(exit code 13)", 3, MendNone},
		"ended while asked": {func(f *Facts) {
			f.Daemon.Call, f.Daemon.Unit.Active = errNotRunning, "activating"
		}, idService, Failed, "is starting|wait", 3, MendNone},
		"given up":         {failing("failed", Ended{Exit: 203}), idService, Failed, "systemd could not prepare or run its program|then: sudo systemctl start", 3, MendStart},
		"killed":           {failing("activating", Ended{Signal: 9}), idService, Failed, "does not stay up: it was killed by signal 9|journalctl", 3, MendNone},
		"stopped after":    {failing("inactive", Ended{Exit: 13}), idService, Failed, "is stopped", 3, MendStart},
		"stuck in a start": {func(f *Facts) { f.Daemon.Call, f.Daemon.Unit.Active = context.DeadlineExceeded, "activating" }, idService, Failed, "is starting, and does not answer|wait a minute", 6, MendNone},
		"foreign interface": {func(f *Facts) {
			noDaemon("inactive", "")(f)
			f.Daemon.Foreign, f.Daemon.ForeignName = "a veth interface of another program", "causeway0"
		}, idService, Failed, "the interface causeway0 is a veth interface of another program, and no daemon can start|first remove or rename", 3, MendNone},
		"marks": {func(f *Facts) {
			noDaemon("inactive", "")(f)
			f.Daemon.Unit, f.Daemon.Marked = Unit{}, "/etc/hosts"
		}, idService, Failed, "not running|names in /etc/hosts of an earlier one are still there|sudo causewayd cleanup", 3, MendNone},
		"another socket": {func(f *Facts) {
			noDaemon("inactive", "")(f)
			f.Daemon.Unit, f.Daemon.PIDs = Unit{}, []int{9}
		}, idService, Failed, "process 9|--socket", 3, MendNone},
		"wedged": {func(f *Facts) { f.Daemon.Call = context.DeadlineExceeded }, idService, Failed, "(process 321)|systemctl restart", 6, MendRestart},
		"wedged by hand": {func(f *Facts) {
			f.Daemon.Call, f.Daemon.Unit = context.DeadlineExceeded, Unit{}
		}, idService, Failed, "does not answer|kill -9", 6, MendNone},
		"socket mode": {func(f *Facts) {
			f.Daemon.Dial = &localapi.Error{Code: localapi.CodePermission, Cause: "denied"}
			f.Daemon.Socket.Mode = 0o600
		}, idSocket, Failed, "0600|chmod 666", 5, MendSocket},
		"socket mode, for root":        {func(f *Facts) { f.Daemon.Socket.Mode = 0o600 }, idSocket, Warning, "0600|chmod 666", 0, MendSocket},
		"socket's directory":           {closed("/run/causeway", true), idSocket, Failed, "/run/causeway has mode 0700|chmod", 5, MendSocket},
		"socket's directory, for root": {closed("/run/causeway", false), idSocket, Warning, "/run/causeway has mode 0700|chmod", 0, MendSocket},
		"a foreign directory":          {closed("/run", true), idSocket, Failed, "/run has mode 0700|chmod", 5, MendNone},
		"a private directory":          {closed("/home/alice", false), idSocket, OK, "can be used by this user", 0, MendNone},
		"not the owner": {func(f *Facts) {
			f.Tunnel = Tunnel{Err: &localapi.Error{Code: localapi.CodePermission, Cause: "belongs to uid 1000", Remedy: "sudo"}}
		}, idSocket, Failed, "uid 1000|sudo", 5, MendNone},
		"older daemon": {func(f *Facts) {
			f.Tunnel = Tunnel{Err: &localapi.Error{Code: localapi.CodeIncompatible, Cause: "unknown", Remedy: "restart causewayd"}}
		}, idVersion, Failed, "older than this program|restart", 9, MendNone},
		"another API":  {func(f *Facts) { f.Daemon.API = 2 }, idVersion, Failed, "different versions|same release", 9, MendNone},
		"not upgraded": {func(f *Facts) { f.Daemon.Version = "v1.2.2" }, idVersion, Warning, "v1.2.2|restart", 0, MendNone},
		"signed out":   {func(f *Facts) { f.Tunnel.Status = &localv1.Status{State: localv1.State_SIGNED_OUT} }, idSignIn, Failed, "nobody|sudo causeway login", 4, MendNone},
		"token ended":  {problem("token-expired"), idSignIn, Failed, "cause of token-expired|remedy of token-expired", 4, MendNone},
		"no rights": {func(f *Facts) {
			f.Tunnel = Tunnel{Err: &localapi.Error{Code: localapi.CodePermission, Cause: "call the daemon: dave is no operator", Remedy: "sudo"}}
		}, idSocket, Failed, "answers, but not to you|dave is no operator|sudo", 5, MendNone},
		"token": {problem("signed-out"), idSignIn, Failed, "expired|causeway login https://coder.example.com", 4, MendNone},
		"down": {func(f *Facts) {
			f.Tunnel.Status.State, f.Tunnel.Status.WantedUp = localv1.State_DOWN, false
		}, idTunnel, Warning, "asked for|up --wait", 0, MendNone},
		"on its way down": {func(f *Facts) { f.Tunnel.Status.State = localv1.State_DOWN }, idTunnel, Warning, "stopped or restarted|wait", 0, MendNone},
		"starting":        {func(f *Facts) { f.Tunnel.Status.State = localv1.State_STARTING }, idTunnel, Warning, "starting", 0, MendNone},
		"cannot run": {func(f *Facts) {
			problem("tun-failed")(f)
			f.Tunnel.Status.State = localv1.State_FAILED
		}, idTunnel, Failed, "cause of tun-failed|remedy of", 8, MendApply},
		"interface to come": {func(f *Facts) {
			f.Tunnel.Status.Address, f.Host = "", Host{Interface: "causeway0"}
		}, idInterface, Skipped, "not made it yet", 0, MendNone},
		"proxy of the daemon": {func(f *Facts) { f.Proxies.Service = Proxy{"HTTPS_PROXY", "http://p:1", errors.New("refused")} }, idProxy, Failed, "daemon's environment has HTTPS_PROXY=http://p:1|refused|systemctl edit", 8, MendNone},
		"proxy of the user":   {func(f *Facts) { f.Proxies.User = Proxy{"https_proxy", "http://p:1", errors.New("refused")} }, idProxy, Warning, "your environment has https_proxy|unset", 0, MendNone},
		"control away": {func(f *Facts) {
			f.Control = Control{Problem: &localv1.Problem{Code: "control-unreachable", Cause: "lost", Remedy: "network"}, Asked: true, Err: errors.New("silence")}
		}, idControl, Failed, "lost|silence|network", 8, MendNone},
		"control for doctor": {func(f *Facts) {
			f.Control.Connected, f.Control.Problem = false, &localv1.Problem{Code: "control-unreachable", Cause: "lost"}
		}, idControl, Failed, "although", 8, MendNone},
		"control silent":     {func(f *Facts) { f.Control = Control{Asked: true, Err: errors.New("silence")} }, idControl, Failed, "silence|firewall", 8, MendNone},
		"control for daemon": {func(f *Facts) { f.Control.Err = errors.New("silence") }, idControl, Warning, "the daemon is connected, but|silence", 0, MendNone},
		"clock":              {func(f *Facts) { f.Control.Skew = -10 * time.Minute }, idClock, Failed, "10m0s behind|set-ntp", 8, MendNone},
		"clock a little":     {func(f *Facts) { f.Control.Skew = 2 * time.Minute }, idClock, Warning, "2m0s ahead of", 0, MendNone},
		"no time":            {func(f *Facts) { f.Control.Date = time.Time{} }, idClock, Skipped, "no time", 0, MendNone},
		"relay":              {problem("relay-unreachable"), idRelay, Failed, "cause of relay|remedy", 8, MendNone},
		"relay when asked":   {func(f *Facts) { f.Tunnel.RelayError = "timeout" }, idRelay, Failed, "timeout|firewall", 8, MendNone},
		"interface gone":     {func(f *Facts) { f.Host = Host{Interface: "causeway0"} }, idInterface, Failed, "causeway0 is gone|--fix", 8, MendCycle},
		"interface down":     {func(f *Facts) { f.Host.Up = false }, idInterface, Failed, "is down|--fix", 8, MendApply},
		"address gone":       {func(f *Facts) { f.Host.Addressed = false }, idInterface, Failed, "lacks|something has removed it", 8, MendApply},
		"IPv6 off": {func(f *Facts) {
			f.Host.Addressed, f.Host.IPv6Off = false, "/proc/sys/net/ipv6/conf/all/disable_ipv6 is 1"
		}, idInterface, Failed, "IPv6 is switched off (/proc/sys/net/ipv6/conf/all/disable_ipv6 is 1)|sudo sysctl net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.causeway0.disable_ipv6=0", 8, MendNone},
		"firewall": {func(f *Facts) {
			f.Passage = Passage{Asked: true, Silent: true, Err: errNoAnswer, Rule: "table inet f, chain output: oifname \"causeway0\" drop"}
			f.Names.Libc = Lookup{Asked: true, Err: errNoAnswer}
		}, idPassage, Failed, "are not answered: a firewall drops them (table inet f, chain output: oifname|nft list ruleset", 8, MendNone},
		"firewall, not root": {func(f *Facts) { f.Passage = Passage{Asked: true, Err: errors.New("operation not permitted")} }, idPassage, Failed, "does not let packets|operation not permitted|most likely a firewall|nft list ruleset", 8, MendNone},
		"route gone": {func(f *Facts) {
			f.Host.OwnRoute = false
			astray(Route{Interface: "eth0", Prefix: "::/0", Table: 254})(f)
		}, idRoute, Failed, "route into causeway0 is gone", 8, MendApply},
		"route of lower metric": {astray(Route{Interface: "wg0", Prefix: "fd60:627a:a42b::/48", Table: 254, Metric: 50, Program: "WireGuard", Guessed: true}), idRoute, Failed,
			"which by its name belongs to WireGuard|has the metric 50, which is lower than our 1024|stop the program that has wg0 (to judge by the name WireGuard), or", 8, MendNone},
		"route that was before": {astray(Route{Interface: "dummy0", Prefix: "fd60:627a:a42b::/48", Table: 254, Metric: 1024}), idRoute, Failed, "same metric 1024, and was there before|stop the program that has dummy0, or", 8, MendNone},
		"route in place of ours": {func(f *Facts) {
			astray(Route{Interface: "wg0", Prefix: "fd60:627a:a42b::/48", Metric: 1024})(f)
			f.Host.OwnRoute = false
		}, idRoute, Failed, "stands in the place of ours", 8, MendNone},
		"route beside none of ours": {func(f *Facts) {
			astray(Route{Interface: "wg0", Prefix: "fd60:627a:a42b::/64"})(f)
			f.Host.OwnRoute = false
		}, idRoute, Failed, "our own route is gone", 8, MendNone},
		"route shadowed": {astray(Route{Interface: "tun7", Prefix: "fd60:627a:a42b::/64", Table: 254, Program: "openvpn (process 7)"}), idRoute, Failed, "tun7|openvpn (process 7)|fd60:627a:a42b::/64 is more specific than ours, fd60:627a:a42b::/48", 8, MendNone},
		"rule":           {astray(Route{Interface: "wg0", Prefix: "::/0", Table: 777, Rule: "100: from all lookup 777"}), idRoute, Failed, "wg0|100: from all lookup 777|ip -6 rule", 8, MendNone},
		"route forbidden": {func(f *Facts) {
			astray(Route{Err: errors.New("permission denied")})(f)
		}, idRoute, Failed, "go nowhere|permission denied", 8, MendNone},
		"bypassed":           {bypass("resolved", true), idResolver, Warning, "192.0.2.53|nss-resolve|ln -sf", 0, MendNone},
		"bypassed for all":   {bypass("resolved", false), idResolver, Failed, "192.0.2.53|ln -sf", 8, MendNone},
		"bypassed for hosts": {bypass("hosts", true), idResolver, Warning, "by way of hosts", 0, MendNone},
		"link DNS":           {func(f *Facts) { f.Names.Resolved.Servers, f.Names.Resolved.Domains = nil, nil }, idLinkDNS, Failed, "no DNS settings for causeway0|--fix", 8, MendApply},
		"link server":        {func(f *Facts) { f.Names.Resolved.Servers = []netip.Addr{netip.MustParseAddr("::1")} }, idLinkDNS, Failed, "lost the server|has ::1", 8, MendApply},
		"link domain":        {func(f *Facts) { f.Names.Resolved.Domains = nil }, idLinkDNS, Failed, "lost the domain coder|has none", 8, MendApply},
		"TLS for all":        {func(f *Facts) { f.Names.Resolved.GlobalTLS, f.Names.Resolved.TLSFiles = "yes", []string{"/etc/x.conf"} }, idTLS, Warning, "/etc/x.conf|exempt", 0, MendNone},
		"TLS for us":         {func(f *Facts) { f.Names.Resolved.LinkTLS = "yes" }, idTLS, Failed, "by TLS only|--fix", 8, MendApply},
		"no names":           {func(f *Facts) { f.Names.Libc = Lookup{Asked: true, Err: errors.New("no such name")} }, idNames, Failed, "sentinel.coder: no such name|--fix", 8, MendApply},
		"agent": {func(f *Facts) {
			f.Agents.Asked = append(f.Agents.Asked, Ping{Name: "web.coder", Err: errNoAnswer})
		}, idAgents, Failed, "1 of 2|web.coder (no answer)", 8, MendNone},
		"slow name server": {func(f *Facts) {
			f.Names = Names{Mode: "hosts", Libc: Lookup{Asked: true, Right: true}, Direct: Lookup{Asked: true, Silent: true, Err: errNoAnswer},
				Resolved: Resolved{Err: errNoAnswer}, ResolvConf: ResolvConf{Servers: []netip.Addr{netip.MustParseAddr("192.0.2.53")}}}
		}, idResolver, Warning, "192.0.2.53, did not answer within 3s|not Causeway's", 0, MendNone},
		"stale complaint": {func(f *Facts) {
			f.Complaints = []*localv1.Problem{{Code: "host-configuration", Cause: "apply: send packets: route is shadowed by tun7", Remedy: "stop it"}}
		}, idRest, Warning, "still complains|wait a moment", 0, MendNone},
		"bypass": {func(f *Facts) {
			bypass("hosts", true)(f)
			f.Complaints = []*localv1.Problem{{Code: "host-configuration", Cause: "resolv.conf leads to 192.0.2.53, past systemd-resolved, as of a program"}}
		}, idResolver, Warning, "by way of hosts", 0, MendNone},
		"stale taken": {func(f *Facts) {
			f.Complaints = []*localv1.Problem{{Code: "host-configuration", Cause: "apply: add route: route is taken by tun7", Remedy: "stop it"}}
		}, idRest, Warning, "still complains", 0, MendNone},
		"no agents":  {func(f *Facts) { f.Agents.Asked = nil }, idAgents, Skipped, "no workspace is running", 0, MendNone},
		"small path": {func(f *Facts) { f.Agents.MTU = &localv1.Problem{Code: "path-mtu", Cause: "too small", Remedy: "MTU"} }, idMTU, Warning, "too small|MTU", 0, MendNone},
		"the rest":   {problem("host-configuration"), idRest, Failed, "cause of host-configuration", 8, MendApply},
		"left out":   {problem("names-left-out"), idRest, Warning, "cause of names-left-out", 0, MendNone},
		"state":      {problem("state-not-saved"), idRest, Failed, "cause of state-not-saved", 8, MendNone},
	} {
		t.Run(name, func(t *testing.T) {
			facts := wellFacts()
			test.break_(&facts)
			outcomes := Examine(t.Context(), &fakeHost{facts: facts}, func(Outcome) {})
			for _, outcome := range outcomes {
				if outcome.ID != test.check {
					if outcome.Result == Failed || outcome.Result == Warning {
						t.Errorf("%s is blamed too: %+v", outcome.ID, outcome)
					}
					continue
				}
				if outcome.Result != test.result || outcome.Mend != test.mend {
					t.Errorf("%+v, want %s, mended by %q", outcome, test.result, test.mend)
				}
				for word := range strings.SplitSeq(test.words, "|") {
					if !strings.Contains(outcome.Cause+"|"+outcome.Remedy, word) {
						t.Errorf("%q is not in %+v", word, outcome)
					}
				}
				if outcome.Result == Failed && outcome.Remedy == "" && test.words != "although" {
					t.Error("a failure without a remedy")
				}
			}
			if _, code := Verdict(outcomes); code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
		})
	}
}

// TestFirstFailureSpeaks: what needs something that failed says nothing, and
// nothing is measured for it.
func TestFirstFailureSpeaks(t *testing.T) {
	host := &fakeHost{facts: wellFacts()}
	noDaemon("inactive", "")(&host.facts)
	for id, outcome := range examine(t, host) {
		if id != idService && (outcome.Result != Skipped || outcome.Because != idService) {
			t.Errorf("%s: %+v", id, outcome)
		}
	}
	if !slices.Equal(host.measured, []string{"daemon"}) {
		t.Errorf("measured %v", host.measured)
	}
	host = &fakeHost{facts: wellFacts()}
	host.facts.Host = Host{Interface: "causeway0"}
	outcomes := examine(t, host)
	for _, id := range []string{idRoute, idLinkDNS, idTLS, idNames, idRest} {
		if outcomes[id].Because != idInterface {
			t.Errorf("%s: %+v", id, outcomes[id])
		}
	}
	if outcomes[idAgents].Result != OK {
		t.Errorf("agents do not need the interface: %+v", outcomes[idAgents])
	}
}

// TestSilentWithoutASignIn: a token that is refused is the one thing to blame.
func TestSilentWithoutASignIn(t *testing.T) {
	host := &fakeHost{facts: wellFacts()}
	problem("signed-out")(&host.facts)
	host.facts.Agents.Asked = append(host.facts.Agents.Asked, Ping{Name: "web.coder", Err: errNoAnswer})
	if got := examine(t, host)[idAgents]; got.Result != Skipped || got.Because != idSignIn {
		t.Errorf("%+v", got)
	}
}

// TestNamesBehindAFirewall: what drops packets to the resolver is not another
// program's DNS.
func TestNamesBehindAFirewall(t *testing.T) {
	host := &fakeHost{facts: wellFacts()}
	host.facts.Passage = Passage{Asked: true, Silent: true, Err: errNoAnswer}
	host.facts.Names.Libc = Lookup{Asked: true, Err: errNoAnswer}
	outcomes := examine(t, host)
	if slices.Contains(host.measured, "names") {
		t.Error("names were asked for, which takes seconds of silence")
	}
	for _, id := range []string{idResolver, idLinkDNS, idTLS, idNames, idRest} {
		if outcomes[id].Because != idPassage {
			t.Errorf("%s: %+v", id, outcomes[id])
		}
	}
}

// TestNobodyAnswersWithoutARelay: agents are not blamed for the way to them.
func TestNobodyAnswersWithoutARelay(t *testing.T) {
	host := &fakeHost{facts: wellFacts()}
	host.facts.Tunnel.RelayError = "timeout"
	host.facts.Agents.Asked = []Ping{{Name: "web.coder", Err: errNoAnswer}}
	if got := examine(t, host)[idAgents]; got.Result != Skipped || got.Because != idRelay {
		t.Errorf("%+v", got)
	}
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	outcomes := Examine(ctx, &fakeHost{facts: wellFacts()}, func(outcome Outcome) {
		if outcome.ID == idProxy {
			cancel()
		}
	})
	if len(outcomes) != 5 || outcomes[4].ID != idTunnel {
		t.Errorf("%d outcomes", len(outcomes))
	}
}
