package tunnel

import (
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/causewayhq/causeway/client"
	"github.com/causewayhq/causeway/control"
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
	CodeHost        = "host-configuration"
	CodeNames       = "names-not-resolved"
	CodeLeftOut     = "names-left-out"
	CodeState       = "state-not-saved"
	CodeStopped     = "tunnel-stopped"
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
	control struct {
		connected bool
		failures  int // in a row: ended connections and failed dials
		ever      bool
		err       error
		since     time.Time // of the present connection
		told      error     // why the control plane ended one lately, in its words
	}
	applied struct {
		done bool
		err  error
	}
	trouble error // on the host, although the wanted state was taken
	canary  struct {
		done bool
		ok   bool
		err  error
	}
	leftOut []error // names that DNS cannot carry
	saveErr error
}

// same says whether nothing that shows has changed.
func (f facts) same(other facts) bool {
	return f.phase == other.phase && sameError(f.fatal, other.fatal) && f.names == other.names &&
		f.control.connected == other.control.connected && f.control.ever == other.control.ever &&
		f.unreachable() == other.unreachable() && sameError(f.control.err, other.control.err) && sameError(f.control.told, other.control.told) &&
		f.applied.done == other.applied.done && sameError(f.applied.err, other.applied.err) && sameError(f.trouble, other.trouble) &&
		f.canary.done == other.canary.done && f.canary.ok == other.canary.ok && sameError(f.canary.err, other.canary.err) &&
		len(f.leftOut) == len(other.leftOut) && sameError(f.saveErr, other.saveErr)
}

// sameError compares what a user would read.
func sameError(a, b error) bool {
	return (a == nil) == (b == nil) && (a == nil || a.Error() == b.Error())
}

// decide derives the state and its reasons.
func (f facts) decide() (State, []Problem) {
	problems := f.problems()
	serious := len(problems)
	if f.control.told != nil && !f.unreachable() {
		problems = append(problems, controlProblem(f.control.told))
	}
	if len(f.leftOut) > 0 {
		problems = append(problems, leftOut(f.leftOut))
	}
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
	case serious > 0:
		return Degraded, problems
	case !f.control.connected && !f.control.ever, !f.canary.done, !f.applied.done:
		return Starting, problems
	}
	return Connected, problems
}

func (f facts) problems() []Problem {
	var problems []Problem
	if f.fatal != nil {
		problems = append(problems, Problem{CodeStopped, f.fatal.Error(), "mend the cause, then bring the tunnel up again"})
	}
	if f.unreachable() {
		problems = append(problems, controlProblem(f.control.err))
	}
	if f.applied.err != nil {
		problems = append(problems, Problem{CodeHost, f.applied.err.Error(), "mend what the cause names; it is tried again by itself"})
	}
	if f.trouble != nil {
		problems = append(problems, Problem{CodeHost, f.trouble.Error(), "make writable what the cause names (a read-only mount, chattr +i or another tool that holds it may be in the way); it is tried again by itself"})
	}
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

// unreachable holds once a dial has failed. One connection that ended is no
// problem yet: the next is usually there within a tenth of a second.
func (f facts) unreachable() bool {
	if f.control.connected || f.control.err == nil {
		return false
	}
	return f.control.failures >= 2 || !f.control.ever
}

// toldFor is how long a connection has to last for what ended the one before to
// be history.
const toldFor = time.Minute

// reported takes in a change of the control connection, or a failed dial.
func (f *facts) reported(connected bool, err error, now time.Time) {
	f.control.connected, f.control.err = connected, err
	f.control.failures++
	if connected {
		f.control.failures, f.control.ever, f.control.since = 0, true, now
	}
	if errors.Is(err, control.ErrTold) {
		f.control.told = err
	}
}

// settled forgets what has been history for long enough.
func (f *facts) settled(now time.Time) {
	if f.control.connected && now.Sub(f.control.since) >= toldFor {
		f.control.told = nil
	}
}

// hopeless says that only the user can mend it.
func hopeless(err error) bool {
	return errors.Is(err, control.ErrSignedOut) || errors.Is(err, client.ErrSignedOut)
}

func controlProblem(err error) Problem {
	var unknown x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var invalid x509.CertificateInvalidError
	var dial *control.DialError
	var rest *client.Error
	var lookup *net.DNSError
	switch {
	case hopeless(err):
		return Problem{CodeSignedOut, err.Error(), "sign in again: causeway login"}
	case errors.Is(err, client.ErrCertificate) || errors.As(err, &unknown) || errors.As(err, &hostname) || errors.As(err, &invalid):
		return Problem{CodeCertificate, err.Error(), "install the authority that signed the certificate on this host, or use the URL that the certificate is for; check the clock"}
	case errors.Is(err, control.ErrTold):
		return Problem{CodeTold, err.Error(), "it is connected again by itself; if this repeats itself, the same state may be in use on two machines, else ask the administrator of the deployment"}
	case errors.Is(err, client.ErrNotControlPlane):
		return Problem{CodeNotPlane, err.Error(), "check the URL; a captive portal or a proxy may be answering instead"}
	case errors.As(err, &dial) && dial.Status == http.StatusBadRequest:
		return Problem{CodeVersion, err.Error(), "use a client whose release matches the control plane"}
	case errors.As(err, &dial) && dial.Status < http.StatusInternalServerError:
		return Problem{CodeRejected, err.Error(), "ask the administrator of the deployment"}
	case errors.As(err, &rest) && rest.Status < http.StatusInternalServerError:
		return Problem{CodeRejected, err.Error(), "ask the administrator of the deployment"}
	case errors.As(err, &lookup):
		return Problem{CodeUnreachable, err.Error(), "check the network and the host name in the URL; it is tried again by itself"}
	}
	return Problem{CodeUnreachable, err.Error(), "check the network; it is tried again by itself, and known workspaces go on working meanwhile"}
}

func leftOut(errs []error) Problem {
	return Problem{CodeLeftOut, errors.Join(errs...).Error(), "rename the workspace or the agent; the other names work"}
}
