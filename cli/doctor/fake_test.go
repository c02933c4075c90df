package doctor

import (
	"context"
	"net/netip"
	"time"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/localv1"
)

// fakeHost has facts instead of probes, and remembers what was done.
type fakeHost struct {
	facts    Facts
	measured []string
	did      []string
	fails    error
	mended   func(*Facts) // what a repair does to the facts
}

func (f *fakeHost) asked(what string) { f.measured = append(f.measured, what) }

func (f *fakeHost) Daemon(context.Context) Daemon {
	f.asked("daemon")
	return f.facts.Daemon
}

func (f *fakeHost) Tunnel(context.Context) Tunnel {
	f.asked("tunnel")
	return f.facts.Tunnel
}

func (f *fakeHost) Proxies(context.Context, Tunnel) Proxies {
	f.asked("proxies")
	return f.facts.Proxies
}

func (f *fakeHost) Control(context.Context, Tunnel, Proxies) Control {
	f.asked("control")
	return f.facts.Control
}

func (f *fakeHost) Host(context.Context, Tunnel) Host {
	f.asked("host")
	return f.facts.Host
}

func (f *fakeHost) Passage(context.Context, Tunnel) Passage {
	f.asked("passage")
	return f.facts.Passage
}

func (f *fakeHost) Complaints(_ context.Context, tunnel Tunnel) []*localv1.Problem {
	f.asked("complaints")
	if f.facts.Complaints != nil {
		return f.facts.Complaints
	}
	return tunnel.Status.GetProblems()
}

func (f *fakeHost) Names(context.Context, Tunnel) Names {
	f.asked("names")
	return f.facts.Names
}

func (f *fakeHost) Agents(context.Context, Tunnel) Agents {
	f.asked("agents")
	return f.facts.Agents
}

func (f *fakeHost) do(what string) error {
	f.did = append(f.did, what)
	if f.fails == nil && f.mended != nil {
		f.mended(&f.facts)
	}
	return f.fails
}

func (f *fakeHost) Start(context.Context) error      { return f.do("start") }
func (f *fakeHost) Restart(context.Context) error    { return f.do("restart") }
func (f *fakeHost) OpenSocket(context.Context) error { return f.do("open") }
func (f *fakeHost) Apply(context.Context) error      { return f.do("apply") }
func (f *fakeHost) Cycle(context.Context) error      { return f.do("cycle") }
func (f *fakeHost) Settle(context.Context)           { f.did = append(f.did, "settle") }

// well are the facts of a healthy host with systemd-resolved.
func wellFacts() Facts {
	return Facts{
		Daemon: Daemon{
			Unit: Unit{Known: true, Load: "loaded", Active: "active", Sub: "running", Enabled: "enabled"}, PIDs: []int{321},
			Socket:  Socket{Path: "/run/causeway/causeway.sock", Exists: true, Mode: 0o666},
			Version: "v1.2.3", OwnVersion: "v1.2.3", API: 1, OwnAPI: 1,
		},
		Tunnel: Tunnel{
			Status: &localv1.Status{
				State: localv1.State_CONNECTED, Url: "https://coder.example.com", User: "alice", Suffix: "coder", WantedUp: true, ControlConnected: true,
				Interface: "causeway0", Address: "fd60:627a:a42b::1", CanaryOk: true, DnsMode: "resolved", HomeRelay: &localv1.Relay{Name: "Home"},
			},
			RelayAsked: true, Sentinel: "sentinel.coder",
		},
		Control: Control{Asked: true, HTTP: 200, Connected: true, Date: time.Unix(1700000000, 0), Skew: 300 * time.Millisecond},
		Host:    Host{Interface: "causeway0", Exists: true, Up: true, Addressed: true, OwnRoute: true, OwnMetric: 1024, Asked: 2},
		Passage: Passage{Asked: true},
		Names: Names{
			Mode: "resolved", Libc: Lookup{Asked: true, Right: true}, Direct: Lookup{Asked: true, Right: true},
			ResolvConf: ResolvConf{Target: "../run/systemd/resolve/stub-resolv.conf", Servers: []netip.Addr{netip.MustParseAddr("127.0.0.53")}},
			Resolved:   Resolved{Servers: []netip.Addr{proto.DNSAddr}, Domains: []string{"~coder"}, LinkTLS: "no", GlobalTLS: "no"},
		},
		Agents: Agents{Asked: []Ping{{Name: "myws.coder", Direct: true}}},
	}
}
