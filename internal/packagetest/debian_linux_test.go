package packagetest

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/causewayhq/causeway/internal/rig"
	"github.com/causewayhq/causeway/internal/testnet"
)

// looseness is the most that `systemd-analyze security` may say of a unit.
const looseness = 3.0

// TestDebian is the life of the package on a host, from install to purge.
func TestDebian(t *testing.T) {
	whole(t)
	for _, flavour := range []testnet.Flavour{testnet.Resolved, testnet.Plain} {
		t.Run(string(flavour), func(t *testing.T) {
			h := newHost(t, flavour)
			before := h.inventory(t)
			t.Run("Noticed", func(t *testing.T) { h.notices(t, before) })
			h.same(t, "leftovers taken away", before)
			for _, step := range []struct {
				name string
				run  func(*testing.T)
			}{
				{"Install", h.install},
				{"SignIn", h.signIn},
				{"Upgrade", func(t *testing.T) { h.handOver(t, next, func() { h.apt(t, "", "install "+file("causeway", next)) }) }},
				{"Downgrade", func(t *testing.T) {
					h.handOver(t, first, func() { h.apt(t, "", "--allow-downgrades install "+file("causeway", first)) })
				}},
				{"Reinstall", func(t *testing.T) {
					h.handOver(t, first, func() { h.apt(t, "", "--reinstall install "+file("causeway", first)) })
				}},
				{"Restart", func(t *testing.T) { h.handOver(t, first, func() { h.sh(t, "systemctl restart "+unit) }) }},
				{"Stopped", h.stopped},
				{"Crashed", h.crashed},
				{"Reboot", h.reboot},
				{"Remove", func(t *testing.T) { h.remove(t, before) }},
				{"Purge", func(t *testing.T) {
					h.apt(t, "", "purge causeway")
					h.same(t, "purge", before)
				}},
				{"PurgeOfFailed", func(t *testing.T) { h.purgeFailed(t, before) }},
				{"Server", func(t *testing.T) { h.controlPlane(t, before) }},
				{"Agent", func(t *testing.T) { h.agent(t, before) }},
			} {
				if !t.Run(step.name, step.run) {
					t.Fatalf("%s failed: what follows would tell nothing", step.name)
				}
			}
		})
	}
}

// install is what a user does with sudo.
func (h *host) install(t *testing.T) {
	began := time.Now()
	h.apt(t, "SUDO_UID="+aliceID, "install "+file("causeway", first))
	figure(t, "apt install took %.1f s", time.Since(began).Seconds())
	h.sh(t, "systemctl start "+unit) // which runs already
	for command, want := range map[string]string{
		"systemctl is-active " + unit:                 "active",
		"systemctl is-enabled " + unit:                "enabled",
		"systemctl is-system-running":                 "running",
		"stat -c '%a %U' /var/lib/causeway":           "700 root",
		"stat -c '%a %U' /etc/causeway/causeway.yaml": "644 root",
		"dpkg -V causeway && echo as packed":          "as packed",
		"causeway version":                            first,
		"ls /usr/share/man/man8/causewayd.8.gz 2>/dev/null || grep -h man /etc/dpkg/dpkg.cfg.d/*": "man",
	} {
		if got := h.sh(t, command+" || :"); !strings.Contains(got, want) {
			t.Errorf("%s: %q; want %q", command, got, want)
		}
	}
	units := h.sh(t, "dpkg -L causeway | grep /usr/lib/systemd/system/.*[.]")
	for unit := range strings.FieldsSeq(units) {
		if output := h.sh(t, "systemd-analyze verify --man=no "+unit+" 2>&1"); output != "" {
			t.Errorf("verify %s: %s", unit, output)
		}
	}
	figure(t, "systemd-analyze verify: %d units, nothing to say", len(strings.Fields(units)))
	h.security(t, unit)
}

var score = regexp.MustCompile(`Overall exposure level for \S+: ([0-9.]+)`)

func (h *host) security(t *testing.T, unit string) {
	t.Helper()
	found := score.FindStringSubmatch(h.sh(t, "systemd-analyze security --no-pager "+unit))
	if found == nil {
		t.Fatal("no score")
	}
	figure(t, "systemd-analyze security %s: %s, bound %.1f", unit, found[1], looseness)
	if value, err := strconv.ParseFloat(found[1], 64); err != nil || value > looseness {
		t.Errorf("score of %s is %s, the bound is %.1f", unit, found[1], looseness)
	}
}

// asAlice runs the command line as the user who has installed it, who is not root.
func (h *host) asAlice(t *testing.T, stdin string, args ...string) {
	t.Helper()
	cmd := h.system.Command(within(t, time.Minute), "setpriv", append([]string{"--reuid", aliceID, "--regid", aliceID, "--clear-groups", "env", "HOME=/home/" + alice, "causeway"}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("as %s: causeway %s: %v: %s", alice, strings.Join(args, " "), err, output)
	}
}

// signIn is what she does next: no command here is root's.
func (h *host) signIn(t *testing.T) {
	h.asAlice(t, h.token+"\n", "login", h.URL, "--token-file", "-")
	h.asAlice(t, "", "up", "--wait")
	figure(t, "the name resolves %.2f s after up", h.resolves(t).Seconds())
	if got := h.session(t, "echo $SSH_CONNECTION is here"); !strings.HasSuffix(got, "is here") {
		t.Errorf("ssh: %q", got)
	}
	h.asAlice(t, "", "down")
	h.asAlice(t, "", "up", "--wait")
	h.resolves(t)
	_, err := h.Causeway(within(t, time.Minute), "ping", rig.Name, "--until-direct", "-c", "200")
	must(t, err)
}

// handOver holds that something leaves names and sessions as they are, and the
// daemon's program is that version afterwards.
func (h *host) handOver(t *testing.T, version string, do func()) {
	h.startLoad(t)
	defer h.stopLoad()
	index := h.sh(t, "cat /sys/class/net/"+device+"/ifindex")
	old := h.sh(t, "systemctl show -P MainPID "+unit)
	began := time.Now()
	do()
	took := time.Since(began)
	must(t, rig.Eventually(within(t, 30*time.Second), func() error {
		if now := h.sh(t, "systemctl show -P MainPID "+unit); now == old {
			return errors.New("the same daemon")
		}
		output, err := h.system.Run(t.Context(), "causeway", "version", "--daemon")
		if err == nil && !strings.Contains(output, version) {
			err = fmt.Errorf("the daemon is %q, not %s", output, version)
		}
		return err
	}))
	_, err := h.load.Healthy(within(t, 30*time.Second), time.Now(), 4*time.Second)
	must(t, err)
	cost := h.load.Cost(began)
	figure(t, "%.1f s; %v", took.Seconds(), cost)
	if cost.Failed > 0 || cost.Wrong > 0 || cost.Broken > 0 || cost.Canary.Failed > 0 || cost.Canary.Wrong > 0 {
		t.Errorf("lookups failed or the session ended: %v, canary %+v\n%s", cost, cost.Canary, strings.Join(cost.Told, "\n"))
	}
	if cost.Right < 50 {
		t.Errorf("only %d lookups: that shows nothing", cost.Right)
	}
	if now := h.sh(t, "cat /sys/class/net/"+device+"/ifindex"); now != index {
		t.Errorf("the interface was %s and is %s", index, now)
	}
}

// stopped holds that an upgrade starts nothing that somebody has stopped.
func (h *host) stopped(t *testing.T) {
	h.sh(t, "systemctl stop "+unit)
	h.apt(t, "", "install "+file("causeway", next))
	if got := h.sh(t, "systemctl is-active "+unit+" || :"); got != "inactive" {
		t.Errorf("a daemon that was stopped is %s after an upgrade", got)
	}
	h.sh(t, "systemctl start "+unit)
	h.resolves(t)
}

// crashed upgrades while systemd waits to start a daemon that was killed.
func (h *host) crashed(t *testing.T) {
	h.sh(t, `mkdir -p /run/systemd/system/`+unit+`.d
printf '[Service]\nRestartSec=60\n' >/run/systemd/system/`+unit+`.d/wait.conf
systemctl daemon-reload; systemctl kill --signal=KILL `+unit)
	must(t, rig.Eventually(within(t, 20*time.Second), func() error {
		if state := h.sh(t, "systemctl show -P SubState "+unit); state != "auto-restart" {
			return errors.New(state)
		}
		return nil
	}))
	h.apt(t, "", "--allow-downgrades install "+file("causeway", first))
	if got := h.sh(t, "systemctl is-active "+unit+"; causeway version --daemon"); !strings.Contains(got, first) {
		t.Errorf("after a crash and an install: %s", got)
	}
	h.sh(t, `rm -r /run/systemd/system/`+unit+`.d; systemctl daemon-reload`)
	h.resolves(t)
}

// reboot holds that the host connects again with nobody signed in to it.
func (h *host) reboot(t *testing.T) {
	began := time.Now()
	must(t, h.system.Reboot(within(t, 3*time.Minute)))
	booted := time.Since(began)
	took := h.resolves(t)
	if got := h.sh(t, "loginctl list-sessions --no-legend"); got != "" {
		t.Errorf("somebody is signed in: %s", got)
	}
	figure(t, "power off to running: %.1f s; the name resolves %.2f s later, nobody signed in", booted.Seconds(), took.Seconds())
	if got := h.session(t, "echo again"); got != "again" {
		t.Errorf("ssh after the reboot: %q", got)
	}
}

// remove takes the package away while the tunnel is up: only settings and state
// stay, until purge.
func (h *host) remove(t *testing.T, before inventory) {
	h.resolves(t)
	h.apt(t, "", "remove causeway")
	h.same(t, "remove", before,
		`files: \+ /etc/causeway/causeway.yaml f 644 0:0`,
		`settings: \+ [0-9a-f]{64}  /etc/causeway/causeway.yaml`,
		`directories: \+ /etc/causeway 755 0:0`,
		`files: \+ /var/lib/causeway/.*`,
		`directories: \+ /var/lib/causeway( 700 0:0|/.*)`,
		`files: \+ /etc/systemd/system/(multi-user.target.wants/)?causewayd.service l 777 0:0 .*`,
		`units: \+ causewayd.service masked`,
		`unit files: \+ causewayd.service masked`,
	)
}

// purgeFailed purges in one step what does not even start.
func (h *host) purgeFailed(t *testing.T, before inventory) {
	h.apt(t, "", "install "+file("causeway", first))
	if got := h.sh(t, "systemctl is-active "+unit); got != "active" {
		t.Errorf("after remove, purge and install it is %s", got)
	}
	h.sh(t, "echo 'no-such-setting: 1' >>/etc/causeway/causeway.yaml; systemctl stop "+unit+`
mkdir -p /run/systemd/system/`+unit+`.d; printf '[Service]\nRestart=no\n' >/run/systemd/system/`+unit+`.d/fail.conf
systemctl daemon-reload; ! systemctl start `+unit+" 2>&1; systemctl is-failed "+unit+"; rm -r /run/systemd/system/"+unit+".d; systemctl daemon-reload")
	h.apt(t, "", "purge causeway")
	h.same(t, "purge of one that failed", before)
}

// controlPlane is the life of the server's package.
func (h *host) controlPlane(t *testing.T, before inventory) {
	h.apt(t, "", "install "+file("causeway-server", first))
	h.sh(t, "/run/host/probe wait-http http://127.0.0.1:7080/readyz 30s; causeway-server user create bob >/dev/null")
	h.security(t, "causeway-server.service")
	for command, want := range map[string]string{
		"systemd-analyze verify --man=no /usr/lib/systemd/system/causeway-server.service 2>&1 && echo clean": "clean",
		"ps -o user:20= -C causeway-server":                                 "causeway-server",
		"stat -c '%a %U' /var/lib/causeway-server":                          "700 causeway-server",
		"find /var/lib/causeway-server/ -not -user causeway-server | wc -l": "0",
		"systemctl is-enabled causeway-server":                              "enabled",
	} {
		if got := h.sh(t, command); got != want {
			t.Errorf("%s: %q; want %q", command, got, want)
		}
	}
	h.apt(t, "", "install "+file("causeway-server", next))
	h.sh(t, "/run/host/probe wait-http http://127.0.0.1:7080/readyz 30s; causeway-server user list | grep bob")
	if got := h.sh(t, "/proc/$(systemctl show -P MainPID causeway-server)/exe version"); !strings.Contains(got, next) {
		t.Errorf("after the upgrade it is %s", got)
	}
	h.apt(t, "", "purge causeway-server")
	// Debian keeps the users of packages: a number that owned files is not given
	// to somebody else.
	h.same(t, "purge of the server", before,
		`users: \+ causeway-server:x:\d+:\d+:Causeway control plane:/var/lib/causeway-server:/usr/sbin/nologin`,
		`users: \+ causeway-server:x:\d+:`,
		`settings: [+-] [0-9a-f]{64}  /etc/(passwd|group|shadow|gshadow)`,
	)
}

// agent is the life of the agent's package: one agent for a user, whose session
// an upgrade leaves alone.
func (h *host) agent(t *testing.T, before inventory) {
	token, err := h.NewAgent(within(t, 20*time.Second), rig.Owner+"/"+rig.Workspace+"/packed")
	must(t, err)
	h.apt(t, "", "install "+file("causeway-agent", first))
	h.sh(t, `echo CAUSEWAY_AGENT_URL=`+h.URL+` >/etc/causeway/agent-alice.env
(umask 077; echo `+token+` >/etc/causeway/agent-alice.token)
systemd-analyze verify --man=no /usr/lib/systemd/system/causeway-agent@.service
systemctl enable --now -q causeway-agent@alice`)
	must(t, rig.Eventually(within(t, 30*time.Second), func() error {
		_, err := h.system.Run(t.Context(), "sh", "-c", "journalctl -u causeway-agent@alice | grep -q 'connected to'")
		return err
	}))
	if got := h.sh(t, "ps -o user= -C causeway-agent"); got != alice {
		t.Errorf("the agent runs as %q", got)
	}
	if got := h.sh(t, "setpriv --reuid "+aliceID+" --clear-groups cat /etc/causeway/agent-alice.token 2>&1 || :"); !strings.Contains(got, "denied") {
		t.Error("the user reads the token's file")
	}
	old := h.sh(t, "systemctl show -P MainPID causeway-agent@alice")
	h.apt(t, "", "install "+file("causeway-agent", next))
	if now := h.sh(t, "systemctl show -P MainPID causeway-agent@alice"); now != old {
		t.Errorf("an upgrade has restarted the agent, and ended its sessions: %s, %s", old, now)
	}
	h.apt(t, "", "purge causeway-agent")
	if got := h.sh(t, "ps -e -o comm= | grep causeway-agent || :"); got != "" {
		t.Errorf("it runs after it was purged")
	}
	h.sh(t, "rm /etc/causeway/agent-alice.*; rmdir /etc/causeway; rm -r /home/alice/.local")
	h.same(t, "purge of the agent", before,
		`users: \+ causeway-server:x:\d+:\d+:Causeway control plane:/var/lib/causeway-server:/usr/sbin/nologin`,
		`users: \+ causeway-server:x:\d+:`,
		`settings: [+-] [0-9a-f]{64}  /etc/(passwd|group|shadow|gshadow)`,
		`units: \+ system-causeway\\x2dagent.slice loaded`, // systemd's, empty, until the next boot
	)
}
