package hostfaults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/causewayhq/causeway/internal/rig"
	"github.com/causewayhq/causeway/internal/testnet"
)

const (
	ownProgram   = "/usr/local/bin/causewayd"
	onlineTarget = "causeway-online.target"
	waitUnit     = "causeway-wait-online.service"
	// Published exit codes (service.Failures).
	exitNotInstalled = 21
	exitNotRunning   = 22
)

// TestInstall holds what "causewayd install" and its companions promise on a
// host that runs systemd.
func TestInstall(t *testing.T) {
	if sample(t) {
		t.Skip("not in the sample: make e2e runs it")
	}
	h := build(t, testnet.Resolved, false)
	h.bare(t)
	t.Run("DryRun", h.dryRun)
	t.Run("Install", h.installed)
	t.Run("Restart", h.restarted)
	t.Run("Online", h.online)
	t.Run("Analyze", h.analyzeAll)
	t.Run("WatchdogKeepsStacks", h.stacks)
	t.Run("StopAfterHandover", h.stopAfterHandover)
	t.Run("Uninstall", h.uninstalled)
	t.Run("PackagesUnit", h.packagesUnit)
}

// bare takes away the unit that the rig put there; who is signed in stays.
func (h *house) bare(t *testing.T) {
	t.Helper()
	h.sh(t, `systemctl disable --now -q `+unit+`
rm -rf `+unitFile+`.d `+unitFile+` /etc/systemd/system/`+restoreUnit+` `+program+`
systemctl daemon-reload
install -m 755 /run/host/causewayd /run/host/causeway /usr/local/bin/`)
	h.refuses(t, exitNotInstalled, ownProgram, "status")
	h.refuses(t, exitNotInstalled, ownProgram, "start")
}

// refuses holds that a command ends with that exit code.
func (h *house) refuses(t *testing.T, code int, command ...string) string {
	t.Helper()
	output, err := h.system.Run(within(t, time.Minute), command[0], command[1:]...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != code {
		t.Errorf("%v: %v, want exit code %d\n%s", command, err, code, output)
	}
	return output
}

// units are all files where administrators' units are.
func (h *house) units(t *testing.T) string {
	t.Helper()
	return h.sh(t, "find /etc/systemd/system | sort | xargs ls -ld --time-style=+ | grep causeway || :")
}

func (h *house) dryRun(t *testing.T) {
	before := h.units(t)
	said := h.sh(t, ownProgram+" install --dry-run")
	if !strings.Contains(said, "would write "+unitFile) {
		t.Errorf("it says %s", said)
	}
	if after := h.units(t); after != before || before != "" {
		t.Errorf("before: %s\nafter: %s", before, after)
	}
}

func (h *house) installed(t *testing.T) {
	t.Log(h.sh(t, ownProgram+" install"))
	if again := h.sh(t, ownProgram+" install"); again != "installed already: nothing to do" {
		t.Errorf("the second install says %s", again)
	}
	h.refuses(t, exitNotRunning, ownProgram, "status")
	h.sh(t, ownProgram+" install --operator 1000")
	if who := h.sh(t, ownProgram+" operator list"); !strings.HasSuffix(who, "1000") {
		t.Errorf("operators: %s", who)
	}
	began := time.Now()
	h.sh(t, ownProgram+" start")
	figure(t, "causewayd start: %.2f s", time.Since(began).Seconds())
	h.allThere(t, "start")
	var status struct {
		Version   int
		Installed bool
		AtBoot    bool `json:"at_boot"`
		State     string
		PID       int
	}
	must(t, json.Unmarshal([]byte(h.sh(t, ownProgram+" status --json")), &status))
	pid, err := h.pid(t.Context())
	must(t, err)
	if status.Version != 1 || !status.Installed || !status.AtBoot || status.State != "running" || strconv.Itoa(status.PID) != pid {
		t.Errorf("status %+v; systemd's process is %s", status, pid)
	}
	if said := h.sh(t, ownProgram+" start"); said != "it runs already: nothing to do" {
		t.Errorf("the second start says %s", said)
	}
}

func (h *house) restarted(t *testing.T) {
	old, index := h.sh(t, "systemctl show -P MainPID "+unit), h.index(t)
	began := time.Now()
	h.sh(t, ownProgram+" restart")
	figure(t, "causewayd restart: %.2f s", time.Since(began).Seconds())
	if now := h.sh(t, "systemctl show -P MainPID "+unit); now == old {
		t.Errorf("the process is still %s", old)
	}
	if now := h.index(t); now != index {
		t.Errorf("the interface was %s and is %s", index, now)
	}
	h.allThere(t, "restart")
}

// activeState of a unit.
func (h *house) activeState(t *testing.T, name string) string {
	t.Helper()
	return h.sh(t, "systemctl show -P ActiveState "+name)
}

// awaitState waits until the unit has that state.
func (h *house) awaitState(t *testing.T, name, want string) {
	t.Helper()
	must(t, rig.Eventually(within(t, 30*time.Second), func() error {
		if state := h.activeState(t, name); state != want {
			return fmt.Errorf("%s is %s, want %s", name, state, want)
		}
		return nil
	}))
}

// online holds that the target for units that need names is reached when names
// answer, and not before.
func (h *house) online(t *testing.T) {
	_, err := h.Causeway(within(t, 20*time.Second), "down")
	must(t, err)
	// A unit that needs the names, and notes whether it had them.
	h.sh(t, `printf '[Unit]\nWants=`+onlineTarget+`\nAfter=`+onlineTarget+`\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/usr/bin/getent ahostsv6 `+rig.Name+`\n' > /etc/systemd/system/needs.service
systemctl daemon-reload
systemctl start --no-block needs.service`)
	defer h.sh(t, "systemctl stop needs.service; rm -f /etc/systemd/system/needs.service; systemctl daemon-reload")
	h.awaitState(t, waitUnit, "activating")
	hold(t, 4*time.Second)
	for _, name := range []string{onlineTarget, "needs.service"} {
		if state := h.activeState(t, name); state == "active" {
			t.Errorf("%s is %s while the tunnel is down", name, state)
		}
	}
	_, err = h.Causeway(within(t, 20*time.Second), "up")
	must(t, err)
	began := time.Now()
	h.awaitState(t, "needs.service", "active")
	figure(t, "%s reached %.2f s after causeway up", onlineTarget, time.Since(began).Seconds())
	if state := h.activeState(t, onlineTarget); state != "active" {
		t.Errorf("%s is %s", onlineTarget, state)
	}
	// It is reached anew after a crash or a restart, which do not reach who wants
	// the names; a stop takes it away.
	for _, fault := range []string{"kill --signal=KILL", "restart"} {
		since := h.sh(t, "systemctl show -P ActiveEnterTimestampMonotonic needs.service")
		h.sh(t, "systemctl "+fault+" "+unit)
		hold(t, time.Second)
		h.awaitState(t, onlineTarget, "active")
		if now := h.sh(t, "systemctl show -P ActiveEnterTimestampMonotonic needs.service"); now != since || h.activeState(t, "needs.service") != "active" {
			t.Errorf("%s: a unit that wants the names was touched", fault)
		}
	}
	h.sh(t, ownProgram+" stop")
	h.awaitState(t, onlineTarget, "inactive")
	h.sh(t, ownProgram+" start")
	h.allThere(t, "start")
}

// analyzeAll has systemd judge every unit that install has written.
func (h *house) analyzeAll(t *testing.T) {
	h.analyze(t)
	for _, name := range []string{restoreUnit, onlineTarget, waitUnit} {
		output, err := h.system.Run(t.Context(), "systemd-analyze", "verify", "--man=no", "/etc/systemd/system/"+name)
		if err != nil || strings.Contains(output, "causeway") {
			t.Errorf("verify %s: %v %s", name, err, output)
		}
	}
	found := score.FindStringSubmatch(h.sh(t, "systemd-analyze security --no-pager "+waitUnit))
	if found == nil {
		t.Fatal("no score")
	}
	figure(t, "systemd-analyze security %s: %s", waitUnit, found[1])
}

// stacks holds that a daemon that is stuck leaves its stacks, in the journal and
// in a file, before it is started anew.
func (h *house) stacks(t *testing.T) {
	h.sh(t, `mkdir -p `+unitFile+`.d
printf '[Service]\nWatchdogSec=2\n' > `+unitFile+`.d/watchdog.conf; systemctl daemon-reload; systemctl restart `+unit)
	defer h.sh(t, "rm -r "+unitFile+".d; systemctl daemon-reload; systemctl restart "+unit)
	old := h.sh(t, "systemctl show -P MainPID "+unit)
	began := time.Now()
	h.sh(t, "kill -STOP "+old)
	must(t, rig.Eventually(within(t, 20*time.Second), func() error {
		_, err := h.system.Run(t.Context(), "sh", "-c", "test $(systemctl show -P MainPID "+unit+") != "+old+" && systemctl is-active "+unit)
		return err
	}))
	figure(t, "stopped daemon noticed, its stacks kept, another running after %.2f s (WatchdogSec=2)", time.Since(began).Seconds())
	kept := h.sh(t, "cat /var/lib/causeway/crash.1.log; stat -c %a /var/lib/causeway/crash.1.log")
	if !strings.Contains(kept, "SIGABRT") || !strings.Contains(kept, "service.(*Service).supervise") || !strings.HasSuffix(kept, "600") {
		t.Errorf("the file holds %s", shorten(kept))
	}
	journal := h.journal(t.Context())
	for _, want := range []string{"SIGABRT: abort", "service.(*Service).supervise", "stacks=/var/lib/causeway/crash.1.log"} {
		if !strings.Contains(journal, want) {
			t.Errorf("the journal has no %q", want)
		}
	}
	h.allThere(t, "after the watchdog")
}

// stopAfterHandover: in the foreground, who asked for a handover and then for
// the end gets the end.
func (h *house) stopAfterHandover(t *testing.T) {
	h.sh(t, ownProgram+" stop")
	defer func() { h.sh(t, ownProgram+" start") }()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	foreground := h.system.Command(ctx, "sh", "-c", "echo $$ > /run/foreground.pid; exec "+ownProgram+" run")
	must(t, foreground.Start())
	h.allThere(t, "in the foreground")
	h.sh(t, "kill -USR2 $(cat /run/foreground.pid); kill -TERM $(cat /run/foreground.pid)")
	if err := foreground.Wait(); err != nil {
		t.Error(err)
	}
	h.nothingLeft(t, "a stop right after a handover")
}

func (h *house) uninstalled(t *testing.T) {
	h.allThere(t, "before")
	t.Log(h.sh(t, ownProgram+" uninstall"))
	h.nothingLeft(t, "uninstall")
	if left := h.units(t); left != "" {
		t.Errorf("left of the units: %s", left)
	}
	h.refuses(t, exitNotInstalled, ownProgram, "status")
	h.sh(t, ownProgram+" uninstall")
}

// packagesUnit: where a package has brought the unit, install enables it, and
// uninstall leaves it to the package.
func (h *house) packagesUnit(t *testing.T) {
	h.install(t)
	h.sh(t, `systemctl disable --now -q `+unit+`
mv `+unitFile+` /etc/systemd/system/`+restoreUnit+` /usr/lib/systemd/system/
rm -rf `+unitFile+`.d; systemctl daemon-reload`)
	h.sh(t, program+" install --now")
	h.allThere(t, "install of a package's unit")
	if left := h.units(t); !strings.Contains(left, "multi-user.target.wants/"+unit) || strings.Count(left, "\n") != 0 {
		t.Errorf("in /etc is %s", left)
	}
	h.sh(t, program+" uninstall")
	h.nothingLeft(t, "uninstall of a package's unit")
	if left := h.units(t); left != "" {
		t.Errorf("in /etc is %s", left)
	}
	h.sh(t, "test -e /usr/lib/systemd/system/"+unit)
}
