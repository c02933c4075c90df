package doctor

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/causewayhq/causeway/config"
	"github.com/causewayhq/causeway/hosts"
	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
	"github.com/causewayhq/causeway/workspace"
)

// How long each question may take.
const (
	// callLimit is for the socket and the first call: a healthy daemon answers
	// within milliseconds, also on a busy machine within a second.
	callLimit = 3 * time.Second
	// examineLimit lets the daemon ask the relay, for up to 3 s.
	examineLimit = 8 * time.Second
	// startingLimit is how long a service may be on its way up, and a tunnel
	// starting, before doctor says so: a restart takes a second, and what is
	// missing meanwhile is no fault.
	startingLimit, startingEvery = 5 * time.Second, 50 * time.Millisecond
	// calmLimit is past the 2 s in which the daemon notices a change of the host.
	calmLimit, calmEvery = 3 * time.Second, 200 * time.Millisecond
	// pingLimit is past what the daemon itself waits for an agent to be
	// announced (6 s), so that its words arrive.
	pingLimit = 8 * time.Second
	// pingAgents bounds how many agents are asked, and pingAtOnce at a time.
	pingAgents, pingAtOnce = 16, 8
)

// API is the version of the local API that this program speaks.
const API = 1

// Machine is this host. It implements Probes and Mender.
type Machine struct {
	Socket string
	// Version and API of this program.
	Version string
	API     int32
	// LookupEnv is os.LookupEnv.
	LookupEnv func(string) (string, bool)
}

// Daemon looks at the daemon from outside. One that is starting is waited for.
func (m *Machine) Daemon(ctx context.Context) Daemon {
	d := m.look(ctx)
	ended := d.Unit.ended()
	for deadline := time.Now().Add(startingLimit); d.starting() && time.Now().Before(deadline) && pause(ctx, startingEvery); {
		d = m.look(ctx)
		if now := d.Unit.ended(); now.known() { // which systemd forgets with the next start
			ended = now
		}
	}
	if d.silent() && d.Unit.Installed() && d.Unit.Active != "active" && d.Unit.Active != "inactive" {
		d.Ended = ended.withLog(journal(ctx), d.Unit)
	}
	return d
}

func (u Unit) ended() Ended { return Ended{Exit: u.Exit, Signal: u.Signal} }

// withLog adds what the journal tells; also of the end, if systemd has started
// the process again so fast that nobody saw it.
func (e Ended) withLog(journal string, unit Unit) Ended {
	if !e.known() && unit.Restarts > 0 {
		e.Exit = exitOf(journal)
	}
	e.Cause, e.Remedy = lastWords(journal)
	return e
}

// silent says that nobody answers, for whatever reason but that we may not ask.
func (d Daemon) silent() bool {
	return d.Call != nil || d.Dial != nil && !is(d.Dial, localapi.CodePermission)
}

// starting says that nobody answers yet, or just now, as the service is being
// started or restarted.
func (d Daemon) starting() bool {
	unit := d.Unit
	gone := is(d.Dial, localapi.CodeNotRunning) || is(d.Call, localapi.CodeNotRunning)
	return gone && unit.Installed() && (unit.Job || unit.Active != "inactive" && unit.Active != "failed")
}

func (m *Machine) look(ctx context.Context) Daemon {
	d := Daemon{OwnVersion: m.Version, OwnAPI: m.API, Unit: unit(ctx), PIDs: processes("causewayd"), Socket: socketFile(m.Socket)}
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	client, err := localapi.Dial(ctx, m.Socket)
	if err != nil {
		d.Dial = err
		if is(err, localapi.CodeNotRunning) {
			d.findRemains()
		}
		return d
	}
	defer client.Close()
	version, err := client.GetVersion(ctx, &localv1.GetVersionRequest{})
	d.Call, d.Version, d.API = err, version.GetVersion(), version.GetApi()
	return d
}

// findRemains looks for what an earlier daemon may have left, and for what is in
// the way of the next.
func (d *Daemon) findRemains() {
	name := config.DefaultInterface
	if d.Foreign = foreignInterface(name); d.Foreign != "" {
		d.ForeignName = name
	} else if interfaceExists(name) {
		d.Leftover = name
	}
	if path := hosts.SystemPath(); marked(path) {
		d.Marked = path
	}
}

// sectionMark begins the section that the daemon writes into the hosts file.
const sectionMark = "# >>> causeway"

func marked(path string) bool {
	content, err := os.ReadFile(path)
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(content)) {
		if strings.HasPrefix(line, sectionMark) {
			return true
		}
	}
	return false
}

// Tunnel has the daemon measure, and takes its word. A tunnel that is starting
// is waited for.
func (m *Machine) Tunnel(ctx context.Context) Tunnel {
	for deadline := time.Now().Add(startingLimit); m.underway(ctx) && time.Now().Before(deadline) && pause(ctx, startingEvery); {
	}
	ctx, cancel := context.WithTimeout(ctx, examineLimit)
	defer cancel()
	client, err := localapi.Dial(ctx, m.Socket)
	if err != nil {
		return Tunnel{Err: err}
	}
	defer client.Close()
	answer, err := client.Examine(ctx, &localv1.ExamineRequest{})
	if err != nil {
		return Tunnel{Err: err}
	}
	t := Tunnel{
		Status: answer.GetStatus(), RelayAsked: answer.GetRelayAsked(), RelayError: answer.GetRelayError(), Variables: answer.GetProxyVariables(),
	}
	if suffix := t.Status.GetSuffix(); suffix != "" {
		t.Sentinel = workspace.Sentinel + "." + strings.ToLower(suffix)
	}
	return t
}

// underway says that one daemon is about to follow another, or that its tunnel
// is not there yet.
func (m *Machine) underway(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	client, err := localapi.Dial(ctx, m.Socket)
	if err != nil {
		return is(err, localapi.CodeNotRunning)
	}
	defer client.Close()
	status, err := client.GetStatus(ctx, &localv1.GetStatusRequest{})
	if err != nil { // refused is refused, all else is a call that was cut off
		return !is(err, localapi.CodePermission) && !is(err, localapi.CodeIncompatible) && ctx.Err() == nil
	}
	return status.GetState() == localv1.State_STARTING || status.GetState() == localv1.State_DOWN && status.GetWantedUp()
}

// Complaints waits a moment for the daemon to notice that what it could not set
// on this host is in order.
func (m *Machine) Complaints(ctx context.Context, tunnel Tunnel) []*localv1.Problem {
	complains := func() bool {
		return slices.ContainsFunc(tunnel.Status.GetProblems(), func(p *localv1.Problem) bool { return p.GetCode() == hostProblem && !isBypass(p) })
	}
	for deadline := time.Now().Add(calmLimit); complains() && time.Now().Before(deadline) && pause(ctx, calmEvery); {
		if status := m.status(ctx); status != nil {
			tunnel.Status = status
		}
	}
	return tunnel.Status.GetProblems()
}

// status is what the daemon says now, or nil.
func (m *Machine) status(ctx context.Context) *localv1.Status {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	client, err := localapi.Dial(ctx, m.Socket)
	if err != nil {
		return nil
	}
	defer client.Close()
	status, err := client.GetStatus(ctx, &localv1.GetStatusRequest{})
	if err != nil {
		return nil
	}
	return status
}

// Agents has the daemon ping agents of running workspaces, those in use first.
func (m *Machine) Agents(ctx context.Context, tunnel Tunnel) Agents {
	var chosen []*localv1.AgentStatus
	for _, agent := range tunnel.Status.GetAgents() {
		if agent.GetWorkspaceStatus() == running {
			chosen = append(chosen, agent)
		}
	}
	slices.SortStableFunc(chosen, func(a, b *localv1.AgentStatus) int {
		return b.GetLastHandshake().AsTime().Compare(a.GetLastHandshake().AsTime())
	})
	out := Agents{Others: max(len(chosen)-pingAgents, 0)}
	chosen = chosen[:min(len(chosen), pingAgents)]
	client, err := localapi.Dial(ctx, m.Socket)
	if err != nil {
		return Agents{Err: err}
	}
	defer client.Close()
	out.Asked = make([]Ping, len(chosen))
	places := make(chan struct{}, pingAtOnce)
	var group sync.WaitGroup
	for i, agent := range chosen {
		group.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			out.Asked[i] = ping(ctx, client, agent)
		})
	}
	group.Wait()
	out.MTU = Tunnel{Status: m.status(ctx)}.problem("path-mtu")
	return out
}

func ping(ctx context.Context, client *localapi.Client, agent *localv1.AgentStatus) Ping {
	out := Ping{Name: agent.GetName() + "." + agent.GetWorkspace(), Workspace: agent.GetWorkspace(), Status: agent.GetWorkspaceStatus()}
	if names := agent.GetNames(); len(names) > 0 {
		out.Name = names[0]
	}
	ctx, cancel := context.WithTimeout(ctx, pingLimit)
	defer cancel()
	reply, err := client.Ping(ctx, &localv1.PingRequest{Name: out.Name})
	if ctx.Err() != nil || is(err, localapi.CodeTimeout) {
		err = errNoAnswer
	} else if err != nil {
		err = errors.New(strings.TrimPrefix(err.Error(), "ping "+out.Name+": "))
	}
	out.Err, out.Latency, out.Direct = err, reply.GetLatency().AsDuration(), reply.GetPath() == localv1.AgentStatus_DIRECT
	return out
}
