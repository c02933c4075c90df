package doctor

import (
	"context"
	"io/fs"
	"net/netip"
	"time"

	"github.com/causewayhq/causeway/proto/localv1"
)

// Probes measure. What could not be measured is in the facts as an error; a
// probe has a deadline of its own and never hangs.
type Probes interface {
	Daemon(ctx context.Context) Daemon
	Tunnel(ctx context.Context) Tunnel
	Proxies(ctx context.Context, tunnel Tunnel) Proxies
	Control(ctx context.Context, tunnel Tunnel, proxies Proxies) Control
	Host(ctx context.Context, tunnel Tunnel) Host
	Passage(ctx context.Context, tunnel Tunnel) Passage
	Names(ctx context.Context, tunnel Tunnel) Names
	Agents(ctx context.Context, tunnel Tunnel) Agents
	// Complaints is what the daemon says in the end: a cause that has just gone
	// is still in the status for a moment.
	Complaints(ctx context.Context, tunnel Tunnel) []*localv1.Problem
}

// stage is one probe.
type stage int

const (
	theDaemon stage = iota + 1
	theTunnel
	theProxies
	theControl
	theHost
	thePassage
	theNames
	theAgents
	theComplaints
)

// Facts are everything that was measured. The zero value of a part means that
// it was not.
type Facts struct {
	Daemon  Daemon
	Tunnel  Tunnel
	Proxies Proxies
	Control Control
	Host    Host
	Passage Passage
	Names   Names
	Agents  Agents
	// Complaints are the daemon's problems in the end.
	Complaints []*localv1.Problem

	words words // of the system to which all this belongs
}

// Daemon is what is seen of the daemon from outside.
type Daemon struct {
	Unit Unit
	// PIDs of processes called causewayd, as far as this user may see.
	PIDs   []int
	Socket Socket
	// Dial is why the socket cannot be connected to, and Call why the daemon
	// gives no answer on it within 3 s.
	Dial, Call error
	// Version and API of the daemon; Own are this program's.
	Version, OwnVersion string
	API, OwnAPI         int32
	// Ended is how the service ended that does not stay up.
	Ended Ended
	// Leftover is an interface of ours without a daemon, or "".
	Leftover string
	// Foreign says what has our interface's name and is not ours, or "": "a veth
	// interface of another program".
	Foreign, ForeignName string
	// Marked is a file that still has our section, without a daemon, or "".
	Marked string
}

// Unit is what systemd says of the service.
type Unit struct {
	Known   bool   // systemd answers
	Load    string // LoadState: "loaded", "not-found", "masked"
	Active  string // ActiveState: "active", "inactive", "failed", "activating"
	Sub     string // SubState
	Result  string // why it failed: "exit-code", "start-limit-hit"
	Enabled string // UnitFileState
	// Exit and Signal are how its process ended last, Restarts how often systemd
	// has started it again by itself.
	Exit, Signal, Restarts int
	Job                    bool // one is waiting or under way for it, as between the halves of a restart
}

// Installed says whether there is a service to start.
func (u Unit) Installed() bool { return u.Known && u.Load == "loaded" }

// Socket is the file of the local API.
type Socket struct {
	Path   string
	Exists bool
	Mode   fs.FileMode
	// Closed is a directory above it that other users cannot pass, or "".
	Closed     string
	ClosedMode fs.FileMode
}

// Tunnel is what the daemon says, after it has measured.
type Tunnel struct {
	Err        error // it refuses to say
	Status     *localv1.Status
	RelayAsked bool
	RelayError string
	Variables  []*localv1.Variable // of its environment, about proxies
	Sentinel   string              // the name that tells whether names work
}

// Problem of a code in the status, or nil.
func (t Tunnel) problem(codes ...string) *localv1.Problem {
	for _, problem := range t.Status.GetProblems() {
		for _, code := range codes {
			if problem.GetCode() == code {
				return problem
			}
		}
	}
	return nil
}

// Proxies are the ways to the control plane that variables ask for.
type Proxies struct {
	Service, User Proxy
}

// Proxy is what variables of one environment make of the URL.
type Proxy struct {
	Variable string // the one that counts; "": no proxy
	Value    string // without user and password
	Err      error  // it cannot be read, or not be connected to
}

// Control is what came of a request to the control plane, by the daemon's way.
type Control struct {
	Asked bool
	Err   error
	HTTP  int // status of the answer
	// Date is the control plane's clock, and Skew what ours is ahead of it, good
	// to a second and the time that the answer took; zero Date: not told.
	Date time.Time
	Skew time.Duration
	// Connected is what the daemon said after the request was over: it needs up
	// to 10 s to notice a silence.
	Connected bool
	Problem   *localv1.Problem
}

// Host is what is ours on this host, as the kernel shows it.
type Host struct {
	Err       error // of reading it
	Interface string
	Exists    bool
	Up        bool
	Addressed bool // it has the tunnel's address
	// Routes are the ways to the resolver and to agents that do not lead into
	// the interface; empty: all do.
	Astray []Route
	Asked  int // how many ways were looked at
	// OwnRoute says that our own route is there.
	OwnRoute bool
	// OwnMetric is its metric.
	OwnMetric int
	// IPv6Off is the setting that keeps addresses from the interface, or "".
	IPv6Off string
}

// Route is the way that the kernel would send packets to an address.
type Route struct {
	To        netip.Addr
	Err       error  // there is none
	Interface string // "": none
	Prefix    string // of the route that won; "": unknown
	Metric    int
	Table     int
	Rule      string // the policy rule that leads there; "": none of note
	Program   string // who has the interface open or is known by its name; "": unknown
	Guessed   bool   // by its name alone
}

// Passage is a question to the tunnel's resolver by way of the operating system.
type Passage struct {
	Asked  bool
	Err    error // no answer came, or the question could not be sent
	Silent bool
	Rule   string // of a firewall that names the tunnel and drops; "": none was found
}

// Names is how this host resolves our names.
type Names struct {
	Mode       string
	ResolvConf ResolvConf
	// Libc is the sentinel as programs see it that use libc, and Direct as those
	// see it that ask the first server of resolv.conf themselves.
	Libc, Direct Lookup
	Resolved     Resolved
}

// Lookup is one question for the sentinel.
type Lookup struct {
	Asked  bool
	Right  bool  // the right address came back
	Err    error // else
	Silent bool  // because nothing came back
}

// ResolvConf is /etc/resolv.conf.
type ResolvConf struct {
	Err     error
	Target  string // of a symbolic link
	Servers []netip.Addr
	Writer  string // who says in a comment that it wrote it; "": nobody
}

// Resolved is systemd-resolved as anybody may read it.
type Resolved struct {
	Err error // it does not answer
	// Servers and Domains of our link; a routing domain begins with "~".
	Servers []netip.Addr
	Domains []string
	LinkTLS string // DNSOverTLS of the link: "no", "opportunistic", "yes"
	// GlobalTLS is the setting for everything else, and TLSFiles are the files
	// that set it.
	GlobalTLS string
	TLSFiles  []string
}

// Agents are the answers of agents to a ping by the tunnel.
type Agents struct {
	Err    error
	Asked  []Ping
	Others int // that were not asked
	// MTU is the daemon's word of a direct path that is too small, afterwards.
	MTU *localv1.Problem
}

// Ping is one agent and what came back.
type Ping struct {
	Name      string
	Workspace string
	Status    string // of the workspace: "running"
	Direct    bool
	Latency   time.Duration
	Err       error
}
