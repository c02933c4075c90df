package doctorrig

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/causewayhq/causeway/internal/rig"
	"github.com/causewayhq/causeway/internal/rigtest"
	"github.com/causewayhq/causeway/internal/testnet"
)

// bin holds the programs, built once for all tests.
var bin string

func TestMain(m *testing.M) { rigtest.Main(m, &bin) }

// What all rigs have, by short names.
var (
	must   = rigtest.Must
	within = rigtest.Within
)

const (
	unit        = "causewayd.service"
	shippedUnit = "../../packaging/linux/causewayd.service"
	// router is where packets of the client come from.
	router = "192.0.2.30"
	// user owns the tunnel; the daemon itself is root's.
	user, userID = "alice", "1000"
)

// house is a Causeway with its relay apart, whose client is a systemd host with
// the daemon as a unit.
type house struct {
	*rig.Stack
	system *testnet.System
	relay  *testnet.Host
	agent  string // token of the agent
	token  string // of admin
	sick   bool   // it did not become well again
}

func build(t *testing.T, flavour testnet.Flavour) *house {
	t.Helper()
	must(t, testnet.BuildSystem(t.Context(), flavour, t.Output()))
	net, err := testnet.New(t.Context(), testnet.EasyNAT, testnet.EasyNAT)
	must(t, err)
	dir := os.Getenv("CAUSEWAY_LOGS") // to keep them
	if dir == "" {
		dir = t.TempDir()
	}
	h := &house{Stack: rig.New(net, bin, dir)}
	t.Cleanup(func() { h.close(t) })
	must(t, net.ServeNames(t.Context()))
	h.relay, err = net.AddHost(t.Context(), "relay", testnet.RelayAddr)
	must(t, err)
	h.system, err = testnet.Boot(within(t, 3*time.Minute), net.Client, flavour)
	must(t, err)
	must(t, h.OnSystem(h.system))
	h.ServerArgs = []string{"--relays", rig.RelayURL}
	h.begin(t)
	return h
}

// begin starts all programs and waits for the direct path.
func (h *house) begin(t *testing.T) {
	t.Helper()
	ctx := within(t, 2*time.Minute)
	must(t, h.StartRelay(ctx, h.relay))
	must(t, h.StartServer(ctx))
	var err error
	h.token, err = h.AddUser(ctx, rig.Owner)
	must(t, err)
	h.agent, err = h.AddAgent(ctx, rig.Owner, rig.Workspace, rig.Agent)
	must(t, err)
	must(t, h.StartAgent(ctx, h.agent))
	text, err := os.ReadFile(shippedUnit)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(h.system.Share, unit), text, 0o644))
	h.sh(t, `install -m 755 /run/host/causewayd /run/host/causeway /run/host/probe /usr/bin/
install -m 644 /run/host/`+unit+` /etc/systemd/system/
useradd --uid `+userID+` `+user+`
systemctl daemon-reload
systemctl enable --now -q `+unit)
	h.login(t, h.token)
	_, err = h.Causeway(ctx, "up")
	must(t, err)
	h.direct(t)
}

// login signs in as somebody does who uses sudo.
func (h *house) login(t *testing.T, token string) {
	t.Helper()
	cmd := h.On(within(t, 30*time.Second), "env", "SUDO_UID="+userID, "SUDO_USER="+user, "/usr/bin/causeway", "login", h.URL, "--token-file", "-")
	cmd.Stdin = strings.NewReader(token + "\n")
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("sign in: %v: %s", err, output)
	}
}

// direct waits for a direct path to the agent.
func (h *house) direct(t *testing.T) {
	t.Helper()
	ctx := within(t, time.Minute)
	must(t, rig.Eventually(ctx, func() error {
		_, err := h.Causeway(ctx, "ping", rig.Name, "--until-direct", "-c", "50")
		return err
	}))
}

// sh runs a script on the host.
func (h *house) sh(t *testing.T, script string) string {
	t.Helper()
	output, err := h.system.Run(within(t, time.Minute), "sh", "-ec", script)
	must(t, err)
	return strings.TrimSpace(output)
}

// report is what doctor --json prints.
type report struct {
	Version int    `json:"version"`
	Result  string `json:"result"`
	Checks  []struct {
		ID, Result, Cause, Remedy, Because string
		Mendable                           bool
	} `json:"checks"`
	Mended []struct {
		Check, Action, Error string
		Done                 bool
		NeedsRoot            bool `json:"needs_root"`
	} `json:"mended"`

	exit int
	took time.Duration
}

// blamed are the checks that did not go well, and how.
func (r report) blamed() map[string]string {
	found := map[string]string{}
	for _, check := range r.Checks {
		if check.Result == "failed" || check.Result == "warning" {
			found[check.ID] = check.Result
		}
	}
	return found
}

func (r report) cause(id string) string {
	for _, check := range r.Checks {
		if check.ID == id {
			return check.Cause + " | " + check.Remedy
		}
	}
	return ""
}

// doctor runs it on the host: as root, or with a prefix as somebody else.
func (h *house) doctor(t *testing.T, prefix []string, flags ...string) report {
	t.Helper()
	words := append(append([]string{}, prefix...), "/usr/bin/causeway", "doctor", "--json")
	words = append(words, flags...)
	began := time.Now()
	output, err := h.system.Command(within(t, 3*time.Minute), words[0], words[1:]...).Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	r := report{took: time.Since(began)}
	if err := json.Unmarshal(output, &r); err != nil {
		t.Fatalf("doctor printed %q: %v", output, err)
	}
	if exit != nil {
		r.exit = exit.ExitCode()
	}
	return r
}

// asUser is the prefix of a command that the tunnel's owner gives.
var asUser = []string{"runuser", "-u", user, "--"}

// healthy waits until doctor has nothing to complain of.
func (h *house) healthy(t *testing.T) report {
	t.Helper()
	if h.sick {
		t.Fatal("the host has not become well again after an earlier fault")
	}
	deadline := time.Now().Add(90 * time.Second) // path sizes are measured each minute
	for {
		r := h.doctor(t, nil)
		if len(r.blamed()) == 0 && r.exit == 0 {
			return r
		}
		if time.Now().After(deadline) {
			h.sick = true
			t.Fatalf("not healthy after 90 s: %v, exit %d: %+v", r.blamed(), r.exit, r.Checks)
		}
	}
}

// foreign is everything on the host that is not ours, as text: files of /etc,
// units, links, addresses, routes, rules, firewall, and the DNS of other links.
const foreign = `set +e; cd /; find etc -xdev \( -type f -o -type l \) ! -path etc/resolv.conf ! -path etc/hosts -print0 | sort -z | xargs -0 stat -c '%n %F %a %u:%g %s %Y'
stat -c '%n %F %a %N' /etc/resolv.conf; cat /etc/resolv.conf; sed '/^# >>> causeway/,/^# <<< causeway/d' /etc/hosts
systemctl list-units --all --plain --no-legend --type=service --state=active | grep -v -e causewayd -e systemd-hostnamed -e user@ -e user-runtime | awk '{print $1}' | sort
ip -o link | grep -v causeway0 | sed 's/^[0-9]*: //'; ip -o addr | grep -v causeway0 | sed 's/^[0-9]*: //; s/valid_lft.*//'
ip -4 route show table all; ip -6 route show table all | grep -v causeway0
ip -4 rule; ip -6 rule
nft list ruleset 2>/dev/null
for link in $(ls /sys/class/net | grep -v causeway0); do resolvectl dns $link; resolvectl domain $link; done 2>/dev/null | sed 's/Link [0-9]*//'; true`

func (h *house) close(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if h.system != nil && t.Failed() {
		journal, _ := h.system.Run(ctx, "journalctl", "--no-pager", "-o", "short-precise", "-u", unit, "-n", "150")
		t.Log(journal)
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	if h.system != nil {
		if err := h.system.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := h.Net.Close(); err != nil {
		t.Error(err)
	}
}
