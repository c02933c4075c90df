package doctor

import (
	"fmt"
	"strings"

	"github.com/causewayhq/causeway/config"
)

// Ended is how the service's process ended last; zero: not known.
type Ended struct {
	Exit   int // its exit code
	Signal int // or what killed it
	// Cause and Remedy are its last words in the journal, which not every user
	// may read; "": none.
	Cause, Remedy string
}

func (e Ended) known() bool { return e.Exit != 0 || e.Signal != 0 }

// refusal is a published exit code of causewayd (causewayd --help) and where to
// look then.
type refusal struct{ text, remedy string }

var refusals = map[int]refusal{
	2:  {"its command line is wrong", "correct the unit: systemctl cat causewayd"},
	10: {"a flag, an environment variable or the settings file is wrong", "correct " + config.DefaultFile + ", or what the unit sets (systemctl cat causewayd)"},
	11: {"the state directory or a file in it cannot be used, or another daemon uses it", "look at " + config.DefaultStateDir + ", and whether another causewayd runs"},
	12: {"the socket of the local API cannot be served, or another process serves it", "find out who has it: sudo ss -xlp | grep causeway"},
	13: {"the TUN device cannot be made", "find out what has the interface: ip -d link show " + config.DefaultInterface},
	14: {"the network configuration could not be undone; run causewayd cleanup", "run: sudo causewayd cleanup"},
	15: {"the process is not root", "correct the unit: systemctl cat causewayd"},
	16: {"the local API stopped", "look at its log"},
	17: {"the shutdown hung; the stacks are on standard error", "look at its log"},
	18: {"this operating system is not supported yet", "use another machine"},
	19: {"Windows resumed what was shut down (fast startup); the service manager starts it anew", "wait a moment"},
	20: {"the operating system's service manager refused, or the service did not come up", "look at the unit: systemctl status causewayd"},
	21: {"the daemon is not installed as a service", "run: sudo causewayd install"},
	22: {"the service does not run (causewayd status)", "run: sudo causewayd start"},
	23: {"the manager of the tunnel hung up without a stop, or broke the protocol", "look at the manager's log"},
}

// ofSystemd is where its own exit codes of a process begin that it could not
// prepare or run: systemd.exec(5), "Process exit codes".
const ofSystemd = 200

func (e Ended) refusal() refusal {
	known, found := refusals[e.Exit]
	switch {
	case found:
		return known
	case e.Signal != 0:
		return refusal{fmt.Sprintf("it was killed by signal %d", e.Signal), "look for what killed it in its log"}
	case e.Exit >= ofSystemd:
		return refusal{"systemd could not prepare or run its program (systemd.exec(5))", "look at the unit (systemctl cat causewayd), and whether the program is there"}
	}
	return refusal{"for a reason that has no code of its own", "look at its log"}
}

// fails says of a service that was started and does not stay up, why; nothing
// of one whose end is not known.
func (d Daemon) fails() (finding Finding, known bool) {
	unit, ended := d.Unit, d.Ended
	if !unit.Installed() || !ended.known() || unit.Active == "inactive" || unit.Active == "active" {
		return Finding{}, false
	}
	what := "cannot start: "
	if ended.Signal != 0 {
		what = "does not stay up: "
	}
	why := ended.refusal()
	cause := "the service causewayd " + what + why.text
	if ended.Exit != 0 {
		cause += fmt.Sprintf(" (exit code %d)", ended.Exit)
	}
	if unit.Active != "failed" && unit.Restarts > 0 {
		cause += fmt.Sprintf(", and was tried again %s", times(unit.Restarts))
	}
	if ended.Cause != "" {
		cause += ": " + ended.Cause
	}
	remedy := why.remedy
	if ended.Remedy != "" {
		remedy = ended.Remedy
	}
	if d.Foreign != "" {
		cause += fmt.Sprintf("; the interface %s is %s", d.ForeignName, d.Foreign)
	}
	finding = fail(cause, remedy+"; its log: sudo journalctl -u causewayd -n 20")
	finding.Code = 3
	if unit.Active == "failed" { // systemd has given up
		finding.Remedy += "; then: sudo systemctl start causewayd"
		finding.Mend = MendStart
	} else {
		finding.Remedy += "; systemd goes on trying"
	}
	if d.Foreign != "" {
		finding.Mend = MendNone
	}
	return finding, true
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// lastWords finds in lines of the journal what the process said when it gave
// up, else an error of its log, or what systemd says of it.
func lastWords(journal string) (cause, remedy string) {
	weaker := ""
	lines := strings.Split(journal, "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		line := strings.TrimSpace(lines[i])
		if text, said := strings.CutPrefix(line, "causewayd: "); said {
			if i+1 < len(lines) {
				next, found := strings.CutPrefix(strings.TrimSpace(lines[i+1]), "remedy: ")
				if found {
					remedy = next
				}
			}
			return text, remedy
		}
		_, failed, found := strings.Cut(line, ": Failed ")
		switch {
		case weaker != "":
		case strings.Contains(line, "level=ERROR"):
			weaker = line
		case found && !strings.HasPrefix(failed, "with result"):
			weaker = "Failed " + failed
		}
	}
	return weaker, ""
}

// exitOf finds the last end of the process that systemd told of in the journal:
// "Main process exited, code=exited, status=13/n/a".
func exitOf(journal string) int {
	const told = "Main process exited, code=exited, status="
	at := strings.LastIndex(journal, told)
	if at < 0 {
		return 0
	}
	code := 0
	// What is no number is no code.
	_, _ = fmt.Sscanf(journal[at+len(told):], "%d", &code)
	return code
}
