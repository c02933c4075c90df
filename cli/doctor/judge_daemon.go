package doctor

import (
	"errors"
	"fmt"
	"strings"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

const (
	startRemedy = "run: sudo systemctl start causewayd"
	logRemedy   = "; its log: sudo journalctl -u causewayd -n 20"
)

// is says whether an error is one of ours with that code.
func is(err error, code localapi.Code) bool {
	var known *localapi.Error
	return errors.As(err, &known) && known.Code == code
}

func remedyOf(err error) string {
	var known *localapi.Error
	if errors.As(err, &known) {
		return known.Remedy
	}
	return ""
}

func judgeService(f *Facts) Finding {
	d := f.Daemon
	failing, fails := d.fails()
	switch {
	case d.Dial == nil && d.Call == nil:
		return well("causewayd %s answers on %s", d.Version, d.Socket.Path)
	case d.silent() && fails:
		return failing
	case is(d.Call, localapi.CodeNotRunning): // it ended while it was asked
		return d.stopped(f.words)
	case d.Dial == nil || is(d.Dial, localapi.CodeTimeout):
		return d.wedged(f.words)
	case d.Socket.Exists && is(d.Dial, localapi.CodePermission):
		// Whether somebody is behind it is not known, but somebody has made it.
		if d.Unit.Installed() && d.Unit.Active != "active" && len(d.PIDs) == 0 {
			return d.stopped(f.words)
		}
		return well("causewayd runs%s", d.who())
	}
	return d.stopped(f.words)
}

// who names the process, as far as it is known.
func (d Daemon) who() string {
	if len(d.PIDs) == 0 {
		return ""
	}
	return fmt.Sprintf(" (process %d)", d.PIDs[0])
}

func (d Daemon) wedged(says words) Finding {
	finding := fail(fmt.Sprintf("causewayd%s runs, but does not answer on %s", d.who(), d.Socket.Path), "")
	finding.Code = localapi.CodeTimeout
	if d.Unit.Installed() && d.Unit.Active == "active" {
		finding.Remedy = "run: sudo systemctl restart causewayd (sessions and names are kept)" + logRemedy
		finding.Mend = MendRestart
		return finding
	}
	if d.Unit.Installed() && (d.Unit.Active == "activating" || d.Unit.Active == "deactivating" || d.Unit.Active == "reloading") {
		finding.Cause = fmt.Sprintf("the service causewayd is %s, and does not answer on %s meanwhile", d.Unit.word(), d.Socket.Path)
		finding.Remedy = "wait a minute, in which systemd ends it if it is stuck" + logRemedy
		return finding
	}
	finding.Remedy = "end it (" + says.kill + "), and start it again where it was started"
	return finding
}

func (d Daemon) stopped(says words) Finding {
	unit := d.Unit
	finding := Finding{Result: Failed, Code: localapi.CodeNotRunning}
	switch {
	case unit.Installed() && unit.Active == "active":
		finding.Cause = fmt.Sprintf("the service causewayd is active, but there is nobody at %s", d.Socket.Path)
		finding.Remedy = "run: sudo systemctl restart causewayd (sessions and names are kept); if the service was given another socket, name it with --socket"
		finding.Mend = MendRestart
	case unit.Installed() && (unit.Active == "activating" || unit.Active == "deactivating"):
		finding.Cause = "the service causewayd is " + unit.word() + bracketed(unit.Result)
		if unit.Restarts > 0 {
			finding.Cause += fmt.Sprintf(", and systemd has started it again %s", times(unit.Restarts))
		}
		finding.Remedy = "wait a moment" + logRemedy
	case unit.Installed() && unit.Active == "failed":
		finding.Cause = "the service causewayd has failed" + bracketed(unit.Result)
		finding.Remedy, finding.Mend = startRemedy+logRemedy, MendStart
	case unit.Installed():
		finding.Cause, finding.Remedy, finding.Mend = "the service causewayd is stopped", startRemedy, MendStart
		if unit.Enabled == "disabled" {
			finding.Cause += ", and will not start with the host either"
			finding.Remedy = "run: sudo systemctl enable --now causewayd"
		}
	case unit.Known && unit.Load == "masked":
		finding.Cause, finding.Remedy = "the service causewayd is masked", "run: sudo systemctl unmask --now causewayd && sudo systemctl start causewayd"
	case len(d.PIDs) > 0:
		finding.Cause = fmt.Sprintf("causewayd%s runs, but not on %s", d.who(), d.Socket.Path)
		finding.Remedy = "name its socket with --socket or CAUSEWAY_SOCKET"
	default:
		finding.Cause = "the daemon is not running, and is not installed as a service"
		finding.Remedy = says.run + "causewayd run (or install the package, which brings the service)"
	}
	return d.withRemains(says, finding)
}

// word says what systemd is doing with the service.
func (u Unit) word() string {
	switch u.Active {
	case "deactivating":
		return "being stopped"
	case "reloading":
		return "being reloaded"
	}
	return "starting"
}

// withRemains adds what is on this host without a daemon of its own: of one
// that runs elsewhere it may be that one's.
func (d Daemon) withRemains(says words, finding Finding) Finding {
	if len(d.PIDs) > 0 {
		return finding
	}
	var left []string
	if d.Foreign != "" {
		finding.Cause += fmt.Sprintf("; the interface %s is %s, and no daemon can start beside it", d.ForeignName, d.Foreign)
		finding.Remedy = fmt.Sprintf("first remove or rename it ("+says.look+"), or give Causeway another name with the setting interface; then %s", d.ForeignName, finding.Remedy)
		finding.Mend = MendNone
	}
	if d.Leftover != "" {
		left = append(left, "the interface "+d.Leftover)
	}
	if d.Marked != "" {
		left = append(left, "names in "+d.Marked)
	}
	if len(left) > 0 {
		verb := "is"
		if d.Marked != "" {
			verb = "are"
		}
		finding.Cause += fmt.Sprintf("; %s of an earlier one %s still there", strings.Join(left, " and "), verb)
		finding.Remedy += "; the next daemon takes over what was left, or else " + says.run + "causewayd cleanup"
	}
	return finding
}

func bracketed(text string) string {
	if text == "" || text == "success" {
		return ""
	}
	return " (" + text + ")"
}

func judgeSocket(f *Facts) Finding {
	d, socket := f.Daemon, f.Daemon.Socket
	if finding := socket.closed(); finding.Cause != "" && (d.Dial != nil || finding.Mend != MendNone) {
		if d.Dial == nil {
			finding.Result, finding.Code = Warning, 0 // for others than this user
		}
		return finding
	}
	err := d.Dial
	if err == nil {
		err = f.Tunnel.Err
	}
	switch {
	case err == nil, is(err, localapi.CodeIncompatible): // which the version's check says in better words
		return well("%s can be used by this user", socket.Path)
	case is(err, localapi.CodePermission) && d.Dial == nil:
		return fail("the daemon answers, but not to you, which says nothing about whether the tunnel works: "+err.Error(), remedyOf(err)).withCode(localapi.CodePermission)
	case is(err, localapi.CodePermission):
		return fail(err.Error(), remedyOf(err)).withCode(localapi.CodePermission)
	}
	return fail(err.Error(), remedyOf(err))
}

// closed says what of the files keeps users away, or nothing.
func (s Socket) closed() Finding {
	switch {
	case s.Closed != "":
		finding := fail(fmt.Sprintf("the directory %s has mode %#o, so that other users cannot pass to %s", s.Closed, s.ClosedMode.Perm(), s.Path),
			"run: sudo chmod o+x "+s.Closed).withCode(localapi.CodePermission)
		if s.ownDir() {
			finding.Mend = MendSocket
		}
		return finding
	case s.Exists && s.Mode.Perm()&0o666 != 0o666:
		return fail(fmt.Sprintf("%s has mode %#o, so that only some users can connect to it", s.Path, s.Mode.Perm()),
			"run: sudo chmod 666 "+s.Path+" (the daemon itself asks the kernel who calls)").withCode(localapi.CodePermission).mendedBy(MendSocket)
	}
	return Finding{}
}

// ownDir says that the closed directory is the one that the daemon makes.
func (s Socket) ownDir() bool {
	return strings.HasSuffix(s.Closed, "/causeway") && strings.HasPrefix(s.Path, s.Closed+"/")
}

func judgeVersion(f *Facts) Finding {
	d := f.Daemon
	switch {
	case d.API != d.OwnAPI:
		return fail(fmt.Sprintf("the daemon (%s) and this program (%s) speak different versions of the local API", d.Version, d.OwnVersion),
			"install both from the same release, and "+f.words.run+f.words.restart).withCode(localapi.CodeIncompatible)
	case is(f.Tunnel.Err, localapi.CodeIncompatible):
		return fail(fmt.Sprintf("the daemon (%s) is older than this program (%s) and does not know what doctor asks", d.Version, d.OwnVersion),
			remedyOf(f.Tunnel.Err)).withCode(localapi.CodeIncompatible)
	case d.Version != d.OwnVersion:
		return warn(fmt.Sprintf("the daemon is %s, this program is %s", d.Version, d.OwnVersion),
			"after an upgrade the daemon has to be restarted; "+f.words.run+f.words.restart+" (sessions and names are kept)")
	}
	return well("both are %s", d.Version)
}

func judgeSignIn(f *Facts) Finding {
	status := f.Tunnel.Status
	if status.GetState() == localv1.State_SIGNED_OUT {
		run := "run: "
		if status.OwnerUid == nil && status.GetOwnerSid() == "" && status.GetView() != localv1.View_FULL {
			run = f.words.run
		}
		return fail("nobody has signed in", run+"causeway login <url>").withCode(localapi.CodeNotSignedIn)
	}
	if problem := f.Tunnel.problem("signed-out"); problem != nil {
		return fail(fmt.Sprintf("%s refuses the token of %s, which has expired or was revoked: %s", status.GetUrl(), status.GetUser(), problem.GetCause()),
			"run: causeway login "+status.GetUrl()).withCode(localapi.CodeNotSignedIn)
	}
	if problem := f.Tunnel.problem("token-expired"); problem != nil {
		return fail(problem.GetCause(), problem.GetRemedy()).withCode(localapi.CodeNotSignedIn)
	}
	return well("%s as %s", status.GetUrl(), status.GetUser())
}

func judgeTunnel(f *Facts) Finding {
	status := f.Tunnel.Status
	switch status.GetState() {
	case localv1.State_SIGNED_OUT:
		return skippedFor(idSignIn)
	case localv1.State_DOWN:
		if problems := status.GetProblems(); len(problems) > 0 {
			return fail("the tunnel is down, and left something behind: "+problems[0].GetCause(), problems[0].GetRemedy())
		}
		if status.GetWantedUp() {
			return warn("the daemon is being stopped or restarted", "wait a moment, and run it again").stopping()
		}
		return warn("the tunnel is down, because that was asked for", "run: causeway up --wait").stopping()
	case localv1.State_FAILED:
		if f.Tunnel.problem("signed-out") != nil {
			return skippedFor(idSignIn)
		}
		return f.Tunnel.failed(f.words, "the tunnel cannot run")
	case localv1.State_STARTING:
		return warn("the tunnel is starting", "wait a moment; if it stays so, the next checks say why")
	case localv1.State_CONNECTED, localv1.State_DEGRADED, localv1.State_STATE_UNSPECIFIED:
	}
	return well("it is up and works on %s", status.GetInterface())
}

// failed is the status's first problem.
func (t Tunnel) failed(says words, what string) Finding {
	if problems := t.Status.GetProblems(); len(problems) > 0 {
		return fail(what+": "+problems[0].GetCause(), problems[0].GetRemedy()).mendedBy(MendApply)
	}
	return fail(what, "see the daemon's log: "+says.log)
}

// hostProblem is the code of what the daemon could not set on this host.
const hostProblem = "host-configuration"

// isForeign says that another program's route is what the daemon complains of.
func isForeign(problem *localv1.Problem) bool {
	return strings.Contains(problem.GetCause(), "route is shadowed") || strings.Contains(problem.GetCause(), "route is taken")
}

// isBypass says that the daemon complains of a resolv.conf that leads past
// systemd-resolved, which the resolver's check is about.
func isBypass(problem *localv1.Problem) bool {
	return strings.Contains(problem.GetCause(), "past systemd-resolved")
}

// judgeRest is what the daemon complains of and no other check is about.
func judgeRest(f *Facts) Finding {
	now := Tunnel{Status: &localv1.Status{Problems: f.Complaints}}
	var stale *localv1.Problem
	for _, problem := range f.Complaints {
		switch {
		case problem.GetCode() != hostProblem || isBypass(problem):
		case isForeign(problem): // whose route the check of routes would have found
			stale = problem
		default:
			return fail(problem.GetCause(), problem.GetRemedy()).mendedBy(MendApply)
		}
	}
	if problem := now.problem("state-not-saved"); problem != nil {
		return fail(problem.GetCause(), problem.GetRemedy())
	}
	if stale != nil {
		return warn("the daemon still complains of what is gone: "+stale.GetCause(), "wait a moment, and run it again")
	}
	for _, problem := range f.Complaints {
		if problem.GetCode() != hostProblem && !covered[problem.GetCode()] {
			return warn(problem.GetCause(), problem.GetRemedy())
		}
	}
	return well("the daemon complains of nothing else")
}

// covered are the codes of problems that other checks are about.
var covered = map[string]bool{
	"signed-out": true, "token-expired": true, "control-unreachable": true, "control-certificate": true, "control-version": true, "control-rejected": true,
	"control-not-causeway": true, "relay-unreachable": true, "names-not-resolved": true, "tunnel-stopped": true, "path-mtu": true, "agent-silent": true,
}
