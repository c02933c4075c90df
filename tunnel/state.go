package tunnel

import (
	"errors"
	"time"
)

// State is what the tunnel is, as a user would say it. It is not stepped
// through but follows from the facts that were measured, so that it can never
// disagree with them:
//
//	           Run                 names known,
//	Stopped ────────▶ Starting ──────────────────▶ Connected
//	   ▲                 │   ▲     both measured      │   ▲
//	   │                 │   │                        ▼   │ all well again
//	   │     a fault that│   │ mended              Degraded
//	   │     stops it all▼   │                        │
//	   │               Failed                         │
//	   │                 │                            │
//	   └── Stopping ◀────┴────── context ends ────────┘
type State int

// The states.
const (
	Stopped   State = iota
	Starting        // nothing is known yet, or not measured yet
	Connected       // control plane connected, and the host resolves our names
	Degraded        // names answer, but something is wrong: see the problems
	Failed          // nothing works before the problem is mended
	Stopping        // taking away what it put on the host
)

func (s State) String() string {
	switch s {
	case Stopped:
		return "stopped"
	case Starting:
		return "starting"
	case Connected:
		return "connected"
	case Degraded:
		return "degraded"
	case Failed:
		return "failed"
	case Stopping:
		return "stopping"
	}
	return "unknown"
}

// Problem is one thing that is wrong.
type Problem struct {
	Code   string // stable, for programs
	Cause  string // what happened
	Remedy string // what the user can do
}

// The codes of problems.
const (
	CodeSignedOut   = "signed-out"
	CodeUnreachable = "control-unreachable"
	CodeCertificate = "control-certificate"
	CodeVersion     = "control-version"
	CodeRejected    = "control-rejected"
	CodeNotPlane    = "control-not-causeway"
	CodeTold        = "control-ended"
	CodeRelay       = "relay-unreachable"
	CodeHost        = "host-configuration"
	CodeNames       = "names-not-resolved"
	CodeLeftOut     = "names-left-out"
	CodePathMTU     = "path-mtu"
	CodeSilent      = "agent-silent"
	CodeState       = "state-not-saved"
	CodeStopped     = "tunnel-stopped"
	CodeDevice      = "device-lost"
	CodeForwarder   = "dns-forwarder-unused"
)

// phase is where Run is.
type phase int

const (
	phaseStopped phase = iota
	phaseRunning
	phaseStopping
)

// facts are what has been measured, and nothing derived.
type facts struct {
	phase   phase
	fatal   error // Run has ended with it
	names   bool  // there is something to answer from
	control controlFacts
	relay   relayFacts
	applied struct {
		done bool
		err  error
	}
	lost    error // the device was taken away again and again, lately
	trouble error // on the host, although the wanted state was taken
	canary  struct {
		done bool
		ok   bool
		err  error
	}
	leftOut []error // names that DNS cannot carry
	agents  agentFacts
	saveErr error
}

// begun are the facts at the start: the control plane is being tried.
func begun() facts {
	return facts{phase: phaseRunning, control: controlFacts{since: time.Now()}}
}

// same says whether nothing that shows has changed.
func (f facts) same(other facts) bool {
	return f.phase == other.phase && sameError(f.fatal, other.fatal) && sameError(f.lost, other.lost) && f.names == other.names &&
		f.control.same(other.control) && f.relay.same(other.relay) &&
		f.applied.done == other.applied.done && sameError(f.applied.err, other.applied.err) && sameError(f.trouble, other.trouble) &&
		f.canary.done == other.canary.done && f.canary.ok == other.canary.ok && sameError(f.canary.err, other.canary.err) &&
		len(f.leftOut) == len(other.leftOut) && f.agents.same(other.agents) && sameError(f.saveErr, other.saveErr)
}

// sameError compares what a user would read.
func sameError(a, b error) bool {
	return (a == nil) == (b == nil) && (a == nil || a.Error() == b.Error())
}

// decide derives the state and its reasons. The time only tells how long ago
// something was.
func (f facts) decide(now time.Time) (State, []Problem) {
	problems := f.problems(now)
	serious := len(problems)
	if f.control.told != nil && !f.control.unreachable() {
		problems = append(problems, controlProblem(f.control.told))
	}
	if len(f.leftOut) > 0 {
		problems = append(problems, leftOut(f.leftOut))
	}
	problems = append(problems, f.agents.problems()...)
	switch {
	case f.phase == phaseStopping:
		return Stopping, problems
	case f.fatal != nil:
		return Failed, problems
	case f.phase == phaseStopped:
		return Stopped, nil
	case !f.names && f.control.err != nil && hopeless(f.control.err):
		return Failed, problems
	case !f.names:
		return Starting, problems
	case serious > 0, f.agents.dead():
		return Degraded, problems
	case !f.control.connected && !f.control.ever, !f.canary.done, !f.applied.done:
		return Starting, problems
	}
	return Connected, problems
}

func (f facts) problems(now time.Time) []Problem {
	var problems []Problem
	if f.fatal != nil {
		problems = append(problems, Problem{CodeStopped, f.fatal.Error(), "mend the cause, then bring the tunnel up again"})
	}
	if f.control.unreachable() {
		problems = append(problems, f.control.problem(now, f.relay.connected))
	}
	if f.relay.away {
		problems = append(problems, f.relay.problem())
	}
	if f.lost != nil {
		problems = append(problems, Problem{CodeDevice, f.lost.Error(), "find out what removes interfaces (NetworkManager, a script, another VPN) and have it leave ours alone; it is made anew by itself"})
	}
	if f.applied.err != nil {
		problems = append(problems, Problem{CodeHost, f.applied.err.Error(), "mend what the cause names; it is tried again by itself"})
	}
	problems = append(problems, troubles(f.trouble)...)
	if f.names && f.canary.done && !f.canary.ok {
		cause := "the host's resolver does not answer for our names"
		if f.canary.err != nil {
			cause += ": " + f.canary.err.Error()
		}
		problems = append(problems, Problem{CodeNames, cause, "the host's DNS settings are put back by themselves; another VPN or DNS tool that replaces them has to leave our suffix alone"})
	}
	if f.saveErr != nil {
		problems = append(problems, Problem{CodeState, f.saveErr.Error(), "make the state directory writable, or free space on its disk; until then a restart forgets what was learnt"})
	}
	return problems
}

func leftOut(errs []error) Problem {
	return Problem{CodeLeftOut, errors.Join(errs...).Error(), "rename the workspace or the agent; the other names work"}
}
