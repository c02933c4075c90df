package hostfaults

import (
	"errors"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/causewayhq/causeway/internal/rig"
	"github.com/causewayhq/causeway/internal/testnet"
)

// looseness is the most that `systemd-analyze security` may say of the unit
// (0 is locked up, 10 is open).
const looseness = 3.0

// traces of ours on a host, one command each; none prints anything on a host
// that we have left.
var traces = map[string]string{
	"interface":    "ip -o link show | grep -o '" + device + "' || :",
	"routes":       "ip -6 route show table all | grep fd60:627a:a42b || :",
	"hosts file":   "grep -i -e causeway -e fd60:627a:a42b /etc/hosts || :",
	"resolv.conf":  "grep -i -e causeway -e fd60:627a:a42b /etc/resolv.conf || :",
	"journal":      "grep -o '\"kind\"' /var/lib/causeway/host-changes.json 2>/dev/null || :",
	"per-link DNS": "resolvectl domain 2>/dev/null | grep '~coder' || :",
}

func (h *house) nothingLeft(t *testing.T, when string) {
	t.Helper()
	for what, command := range traces {
		if got := h.sh(t, command); got != "" {
			t.Errorf("%s: %s: %s", when, what, got)
		}
	}
}

// allThere holds that our names resolve.
func (h *house) allThere(t *testing.T, when string) {
	t.Helper()
	err := rig.Eventually(within(t, 20*time.Second), func() error {
		_, err := h.system.Run(t.Context(), "getent", "ahostsv6", rig.Name)
		return err
	})
	if err != nil {
		t.Errorf("%s: %v", when, err)
	}
}

// TestUnit holds what the unit promises, beside its faults: which ends leave
// the host as it is and which put it back.
func TestUnit(t *testing.T) {
	if sample(t) {
		t.Skip("not in the sample: make e2e runs it")
	}
	for _, flavour := range []testnet.Flavour{testnet.Resolved, testnet.Plain} {
		t.Run(string(flavour), func(t *testing.T) {
			h := build(t, flavour, false)
			t.Run("Analyze", h.analyze)
			t.Run("Down", h.down)
			t.Run("Stop", h.stop)
			t.Run("StopBetweenTwoStarts", h.stopWaiting)
			t.Run("StopOfOneThatHangs", h.stopHanging)
			t.Run("RestartOfOneThatHangs", h.restartHanging)
			t.Run("Renamed", h.renamed)
			t.Run("LinkDeleted", h.linkDeleted)
			t.Run("Watchdog", h.watchdog)
		})
	}
}

var score = regexp.MustCompile(`Overall exposure level for \S+: ([0-9.]+)`)

func (h *house) analyze(t *testing.T) {
	output, err := h.system.Run(t.Context(), "systemd-analyze", "verify", "--man=no", unitFile)
	if err != nil {
		t.Error(err)
	}
	for line := range strings.Lines(output) {
		if strings.Contains(line, unit) {
			t.Errorf("verify: %s", line)
		}
	}
	found := score.FindStringSubmatch(h.sh(t, "systemd-analyze security --no-pager "+unit))
	if found == nil {
		t.Fatal("no score")
	}
	figure(t, "systemd-analyze security: %s, bound %.1f", found[1], looseness)
	if value, err := strconv.ParseFloat(found[1], 64); err != nil || value > looseness {
		t.Errorf("score %s, the bound is %.1f", found[1], looseness)
	}
	if got := h.sh(t, "systemctl show -P NRestarts "+unit); got != "0" {
		t.Errorf("the daemon was started anew %s times", got)
	}
	if got := h.sh(t, "stat -c %a /var/lib/causeway"); got != "700" {
		t.Errorf("the state directory has mode %s", got)
	}
}

func (h *house) down(t *testing.T) {
	if got := h.stored(t); got != "1" {
		t.Errorf("%s descriptors in the store while the tunnel is up", got)
	}
	_, err := h.Causeway(within(t, 20*time.Second), "down")
	must(t, err)
	h.nothingLeft(t, "down")
	if got := h.stored(t); got != "0" {
		t.Errorf("%s descriptors in the store after down", got)
	}
	h.sh(t, "systemctl restart "+unit)
	h.nothingLeft(t, "down, and a restart")
	_, err = h.Causeway(within(t, 20*time.Second), "up")
	must(t, err)
	h.allThere(t, "up")
}

func (h *house) stop(t *testing.T) {
	began := time.Now()
	h.sh(t, "systemctl stop "+unit)
	figure(t, "stopped after %.2f s", time.Since(began).Seconds())
	h.nothingLeft(t, "stop")
	h.sh(t, "systemctl start "+unit)
	h.allThere(t, "start")
}

// stopWaiting stops a daemon that was killed and has not been started again.
func (h *house) stopWaiting(t *testing.T) {
	h.sh(t, `printf '[Service]\nRestartSec=30\n' > `+unitFile+`.d/wait.conf; systemctl daemon-reload`)
	defer h.sh(t, "rm "+unitFile+".d/wait.conf; systemctl daemon-reload")
	h.sh(t, "systemctl kill --signal=KILL "+unit)
	must(t, rig.Eventually(within(t, 20*time.Second), func() error {
		if state := h.sh(t, "systemctl show -P SubState "+unit); state != "auto-restart" {
			return errors.New(state)
		}
		return nil
	}))
	if there := h.sh(t, traces["hosts file"]+"; "+traces["per-link DNS"]); there == "" {
		t.Error("the crash has taken our names away")
	}
	h.sh(t, "systemctl stop "+unit)
	// Its companion puts the host back, and nobody waits for that.
	must(t, rig.Eventually(within(t, 20*time.Second), func() error {
		if state := h.sh(t, "systemctl show -P SubState "+restoreUnit); state != "dead" {
			return errors.New(restoreUnit + " is " + state)
		}
		return nil
	}))
	h.nothingLeft(t, "stop between two starts")
	h.sh(t, "systemctl start "+unit)
	h.allThere(t, "start")
}

// hanging makes the daemon one that does not react to being ended: it gets a
// signal that it does not know, and is killed in the end. systemd is made less
// patient than it is with the unit that is shipped.
func (h *house) hanging(t *testing.T) (undo func()) {
	t.Helper()
	h.sh(t, `printf '[Service]\nKillSignal=SIGWINCH\nRestartKillSignal=SIGWINCH\nTimeoutStopSec=2\n' > `+unitFile+`.d/hang.conf; systemctl daemon-reload`)
	return func() { h.sh(t, "rm "+unitFile+".d/hang.conf; systemctl daemon-reload") }
}

// stopHanging stops a daemon that does not react.
func (h *house) stopHanging(t *testing.T) {
	defer h.hanging(t)()
	began := time.Now()
	h.sh(t, "systemctl stop "+unit)
	if took := time.Since(began); took < 2*time.Second {
		t.Fatalf("it hung for %v only", took)
	}
	h.nothingLeft(t, "stop of a daemon that hangs")
	h.sh(t, "systemctl start "+unit)
	h.allThere(t, "start")
}

// restartHanging restarts one: that is no stop.
func (h *house) restartHanging(t *testing.T) {
	defer h.hanging(t)()
	index := h.index(t)
	began := time.Now()
	h.sh(t, "systemctl restart "+unit)
	if took := time.Since(began); took < 2*time.Second {
		t.Fatalf("it hung for %v only", took)
	}
	if now := h.index(t); now != index {
		t.Errorf("the interface was %s and is %s", index, now)
	}
	h.allThere(t, "restart")
}

// renamed changes the interface's name: the kept device is of no use any more.
func (h *house) renamed(t *testing.T) {
	h.sh(t, `printf '[Service]\nEnvironment=CAUSEWAY_INTERFACE=causeway7\n' > `+unitFile+`.d/name.conf
systemctl daemon-reload
systemctl restart `+unit)
	h.allThere(t, "restart under another name")
	if got := h.sh(t, "ls /sys/class/net"); strings.Contains(got, device) || !strings.Contains(got, "causeway7") {
		t.Errorf("interfaces %s", got)
	}
	if got := h.stored(t); got != "1" {
		t.Errorf("%s descriptors in the store", got)
	}
	h.sh(t, "rm "+unitFile+".d/name.conf; systemctl daemon-reload; systemctl restart "+unit)
	h.allThere(t, "restart under the first name")
}

// recovery is how long the daemon may take to have another device.
const recovery = 2 * time.Second

// linkDeleted takes the interface away under the daemon, which makes another:
// the process stays, and systemd keeps the new one.
func (h *house) linkDeleted(t *testing.T) {
	hold(t, 5*time.Second) // who does it again and again has to wait
	index := h.index(t)
	old, err := h.pid(t.Context())
	must(t, err)
	began := time.Now()
	h.sh(t, "ip link del "+device)
	must(t, rig.Eventually(within(t, recovery+10*time.Second), func() error {
		_, err := h.system.Run(t.Context(), "sh", "-ec", "ip -6 route show dev "+device+" | grep -q fd60:627a:a42b::/48; getent ahostsv6 "+rig.Name)
		return err
	}))
	took := time.Since(began)
	figure(t, "names and routes are back %.2f s after the link was deleted, bound %.0f s", took.Seconds(), recovery.Seconds())
	if took > recovery {
		t.Errorf("back after %v, the bound is %v", took, recovery)
	}
	if now := h.index(t); now == index {
		t.Errorf("the interface is still %s", now)
	}
	if got := h.stored(t); got != "1" {
		t.Errorf("%s descriptors in the store", got)
	}
	if now, err := h.pid(t.Context()); err != nil || now != old {
		t.Errorf("the daemon was %s and is %s, %v", old, now, err)
	}
}

// watchdog holds that a daemon that is stuck is started anew.
func (h *house) watchdog(t *testing.T) {
	h.sh(t, `printf '[Service]\nWatchdogSec=2\n' > `+unitFile+`.d/watchdog.conf; systemctl daemon-reload; systemctl restart `+unit)
	defer h.sh(t, "rm "+unitFile+".d/watchdog.conf; systemctl daemon-reload; systemctl restart "+unit)
	hold(t, 5*time.Second)
	old, err := h.pid(t.Context())
	must(t, err)
	if got := h.sh(t, "systemctl show -P NRestarts "+unit); got != "0" {
		t.Fatalf("a daemon that works was started anew %s times", got)
	}
	index := h.index(t)
	h.sh(t, "kill -STOP "+old)
	must(t, rig.Eventually(within(t, 20*time.Second), func() error {
		_, err := h.system.Run(t.Context(), "sh", "-c", "test $(systemctl show -P MainPID "+unit+") != "+old+" && systemctl is-active "+unit)
		return err
	}))
	h.allThere(t, "after the watchdog")
	if now := h.index(t); now != index {
		t.Errorf("the interface was %s and is %s", index, now)
	}
}
