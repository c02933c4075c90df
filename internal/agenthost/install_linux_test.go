package agenthost

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/causewayhq/causeway/internal/rigtest"
	"github.com/causewayhq/causeway/internal/testnet"
)

// bin holds the programs, built once for all tests.
var bin string

func TestMain(m *testing.M) { rigtest.Main(m, &bin) }

// machine is a systemd host with a control plane and a user whose workspace it is.
type machine struct {
	t      *testing.T
	system *testnet.System
}

const (
	account = "dev"
	access  = "http://127.0.0.1:7080"
)

func boot(t *testing.T) *machine {
	t.Helper()
	if os.Getenv("CAUSEWAY_RIGS") == "" {
		t.Skip("a rig: make test and make e2e run it")
	}
	if os.Geteuid() != 0 {
		t.Fatal("rigs need root")
	}
	ctx := t.Context()
	if err := testnet.BuildSystem(ctx, testnet.Plain, t.Output()); err != nil {
		t.Fatal(err)
	}
	host, err := testnet.NewHost(ctx, "agenthost")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { host.Close() })
	limited, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	system, err := testnet.Boot(limited, host, testnet.Plain)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := system.Close(); err != nil {
			t.Error(err)
		}
	})
	m := &machine{t: t, system: system}
	for _, program := range []string{"causeway-agent", "causeway-server"} {
		if output, err := exec.Command("cp", filepath.Join(bin, program), system.Share).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, output)
		}
	}
	m.sh(`install -D -m 755 /run/host/causeway-agent /opt/causeway/causeway-agent
install -D -m 755 /run/host/causeway-server /usr/local/bin/causeway-server
useradd -m -s /bin/sh ` + account + `
systemd-run -q --unit=plane /usr/local/bin/causeway-server run --data-dir /var/lib/plane --access-url ` + access + ` --listen 127.0.0.1:7080 --stun-listen off`)
	m.eventually("a control plane", `test -e /var/lib/plane/server.db`)
	m.sh(`/usr/local/bin/causeway-server user create alice --data-dir /var/lib/plane >/dev/null
/usr/local/bin/causeway-server workspace create alice/myws --data-dir /var/lib/plane >/dev/null`)
	return m
}

func (m *machine) try(script string) (string, error) {
	ctx, cancel := context.WithTimeout(m.t.Context(), time.Minute)
	defer cancel()
	output, err := m.system.Run(ctx, "sh", "-ec", script)
	return strings.TrimSpace(output), err
}

func (m *machine) sh(script string) string {
	m.t.Helper()
	output, err := m.try(script)
	if err != nil {
		m.t.Fatalf("%s: %v", script, err)
	}
	return output
}

func (m *machine) eventually(what, script string) {
	m.t.Helper()
	var output string
	var err error
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if output, err = m.try(script); err == nil {
			return
		}
	}
	m.t.Fatalf("waited for %s: %v %s", what, err, output)
}

// agent makes one and leaves its token in a file that the account can read.
func (m *machine) agent(name string) {
	m.t.Helper()
	var made struct{ Token string }
	text := m.sh("/usr/local/bin/causeway-server agent create alice/myws/" + name + " --json --data-dir /var/lib/plane")
	if err := json.Unmarshal([]byte(text), &made); err != nil || made.Token == "" {
		m.t.Fatalf("%v: %s", err, text)
	}
	if err := os.WriteFile(filepath.Join(m.system.Share, "token-"+name), []byte(made.Token), 0o600); err != nil {
		m.t.Fatal(err)
	}
	m.sh("install -o " + account + " -m 600 /run/host/token-" + name + " /home/" + account + "/token-" + name)
}

// connects waits until the control plane knows the agent.
func (m *machine) connects(name string) {
	m.t.Helper()
	m.eventually("agent "+name+" to connect", `/usr/local/bin/causeway-server agent list alice --json --data-dir /var/lib/plane | tr -d ' \n' | grep -q '"name":"`+name+`"[^}]*"first_connected_at":"'`)
}

// asUser runs a command as the account, whose manager lingers.
func asUser(command string) string {
	return "runuser -u " + account + " -- env XDG_RUNTIME_DIR=/run/user/$(id -u " + account + ") HOME=/home/" + account + " sh -ec '" + command + "'"
}

// TestInstall: as a unit of the machine that runs as its user, and as a unit of
// the user; both connect, come back after a kill, are enabled for the next start of the
// machine, end on uninstall, show the token to nobody, and leave what the
// workspace runs alone.
func TestInstall(t *testing.T) {
	m := boot(t)
	t.Run("of the machine", func(t *testing.T) {
		m.t = t
		m.agent("one")
		install := "/opt/causeway/causeway-agent install --account " + account + " --url " + access + " --token-file /home/" + account + "/token-one"
		if said := m.sh(install + " --dry-run"); !strings.Contains(said, "would run /usr/bin/systemctl enable causeway-agent@dev.service") {
			t.Errorf("dry run: %s", said)
		}
		if _, err := m.try("test -e /etc/causeway/agent-dev.token"); err == nil {
			t.Error("a dry run wrote the token")
		}
		m.sh(`printf 'version: 1\nscripts:\n- name: start\n  run: setsid sleep 98765 >/dev/null 2>&1 </dev/null &\n  on_start: true\n' |
/usr/local/bin/causeway-server agent configure alice/myws/one - --data-dir /var/lib/plane >/dev/null`)
		m.sh(install)
		m.connects("one")
		m.eventually("what the start script leaves", "pgrep -f '[s]leep 98765'")
		left := m.sh("pgrep -of '[s]leep 98765'")
		goesOn := func(what string) {
			t.Helper()
			if _, err := m.try("kill -0 " + left); err != nil {
				t.Errorf("%s ended what a script had left running: %v", what, err)
			}
		}
		const unit = "causeway-agent@dev.service"
		if who := m.sh("ps -o user= -p $(systemctl show -P MainPID " + unit + ")"); who != account {
			t.Errorf("it runs as %q", who)
		}
		if mode := m.sh("stat -c '%U %a' /etc/causeway/agent-dev.token"); mode != "root 600" {
			t.Errorf("token: %s", mode)
		}
		token := m.sh("cat /home/" + account + "/token-one")
		if shown := m.sh("cat /proc/[0-9]*/cmdline /etc/systemd/system/causeway-agent@.service | tr '\\0' ' '; systemctl show " + unit + "; journalctl -o cat"); strings.Contains(shown, token) {
			t.Error("a command line, the unit or the journal shows the token")
		}
		before := m.sh("systemctl show -P MainPID " + unit)
		m.sh("kill -9 " + before)
		m.eventually("another process", "now=$(systemctl show -P MainPID "+unit+"); test $now != "+before+" -a $now != 0")
		goesOn("a kill of the agent")
		m.sh(install) // again: a new token, the same identity
		goesOn("a restart of the agent")
		m.sh("systemctl is-active --quiet " + unit + "; systemctl is-enabled --quiet " + unit)
		m.sh("/opt/causeway/causeway-agent uninstall --account " + account)
		if is := m.sh("systemctl is-active " + unit + " || true; ls /etc/causeway"); is != "inactive" {
			t.Errorf("left: %s", is)
		}
		goesOn("the end of the agent")
		m.sh("pkill -f '[s]leep 98765'")
		m.sh("test -e /home/" + account + "/.local/state/causeway-agent/identity.json")
		m.sh("/opt/causeway/causeway-agent uninstall --account " + account) // nothing there: nothing to do
	})
	t.Run("of the user", func(t *testing.T) {
		m.t = t
		m.agent("two")
		// The host has no PAM module that would give the manager its directory.
		m.sh(`uid=$(id -u ` + account + `)
install -d -o ` + account + ` -m 700 /run/user/$uid
systemd-run -q --unit=manager -p User=` + account + ` -p Delegate=yes --setenv=XDG_RUNTIME_DIR=/run/user/$uid /usr/lib/systemd/systemd --user`)
		m.eventually("the user's manager", "test -S /run/user/$(id -u "+account+")/systemd/private")
		said := m.sh(asUser("/opt/causeway/causeway-agent install --url " + access + " --token-file ~/token-two"))
		if !strings.Contains(said, "run /usr/bin/systemctl --user enable causeway-agent.service") {
			t.Errorf("%s", said)
		}
		m.connects("two")
		m.sh(asUser("systemctl --user is-enabled --quiet causeway-agent.service"))
		if mode := m.sh("stat -c '%U %a' /home/" + account + "/.config/causeway-agent/token"); mode != account+" 600" {
			t.Errorf("token: %s", mode)
		}
		m.sh(asUser("/opt/causeway/causeway-agent uninstall"))
		if state := m.sh(asUser("systemctl --user is-active causeway-agent.service || true")); state != "inactive" {
			t.Errorf("state %s", state)
		}
	})
	t.Run("mistakes", func(t *testing.T) {
		m.t = t
		for name, test := range map[string]struct{ command, says string }{
			"no such account": {"/opt/causeway/causeway-agent install --account nobody-here --url " + access + " --token-file /home/dev/token-one", "unknown user"},
			"not root":        {asUser("/opt/causeway/causeway-agent install --account dev --url " + access + " --token-file ~/token-one"), "permission denied"},
			"no token":        {"/opt/causeway/causeway-agent install --url " + access + " --token-file /absent", "no such file"},
		} {
			if output, err := m.try(test.command + " 2>&1"); err == nil || !strings.Contains(output+err.Error(), test.says) {
				t.Errorf("%s: %v %s", name, err, output)
			}
		}
	})
}
