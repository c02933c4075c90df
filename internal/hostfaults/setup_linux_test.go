package hostfaults

import (
	"context"
	"encoding/json"
	"io"
	"os"
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
	sample = rigtest.Sample
	figure = rigtest.Figure
	must   = rigtest.Must
	within = rigtest.Within
)

// Where the unit and its program are on the host.
const (
	unit        = "causewayd.service"
	restoreUnit = "causewayd-restore.service"
	unitFile    = "/etc/systemd/system/causewayd.service"
	program     = "/usr/bin/causewayd"
	device      = "causeway0"
	shippedUnit = "../../packaging/linux/causewayd.service"
	// The name that is never in the net, as proto and workspace define it.
	sentinel     = "is.coder--connect--enabled--right--now.coder"
	sentinelAddr = "fd60:627a:a42b::53"
)

// house is the whole rig: a Causeway whose client is a systemd host of one
// flavour, with the daemon as a unit.
type house struct {
	*rig.Stack
	flavour testnet.Flavour
	forward bool // by the setting of the daemon
	system  *testnet.System
	addr    string // of rig.Name
	load    *rig.Load
}

// build sets everything up, down to the direct path.
func build(t *testing.T, flavour testnet.Flavour, forward bool) *house {
	t.Helper()
	must(t, testnet.BuildSystem(t.Context(), flavour, t.Output()))
	net, err := testnet.New(t.Context(), testnet.EasyNAT, testnet.EasyNAT)
	must(t, err)
	dir := os.Getenv("CAUSEWAY_LOGS") // to keep them
	if dir == "" {
		dir = t.TempDir()
	}
	h := &house{Stack: rig.New(net, bin, dir), flavour: flavour, forward: forward}
	t.Cleanup(func() { h.close(t) })
	must(t, net.ServeNames(t.Context()))
	h.system, err = testnet.Boot(within(t, 3*time.Minute), net.Client, flavour)
	must(t, err)
	must(t, h.OnSystem(h.system))
	if flavour == testnet.Resolved {
		// Nothing may answer in our place: a cached answer would hide a gap.
		h.sh(t, `mkdir -p /etc/systemd/resolved.conf.d
printf '[Resolve]\nCache=no\n' > /etc/systemd/resolved.conf.d/rig.conf
systemctl restart systemd-resolved`)
	}
	h.begin(t)
	return h
}

// begin starts all programs and waits for the direct path.
func (h *house) begin(t *testing.T) {
	t.Helper()
	ctx := within(t, 2*time.Minute)
	must(t, h.StartServer(ctx))
	user, err := h.AddUser(ctx, rig.Owner)
	must(t, err)
	agent, err := h.AddAgent(ctx, rig.Owner, rig.Workspace, rig.Agent)
	must(t, err)
	must(t, h.StartAgent(ctx, agent))
	h.install(t)
	must(t, h.Login(ctx, user))
	_, err = h.Causeway(ctx, "up")
	must(t, err)
	must(t, rig.Eventually(ctx, func() error {
		output, err := h.Client(ctx, "getent", "ahostsv6", rig.Name)
		h.addr, _, _ = strings.Cut(output, " ")
		return err
	}))
	_, err = h.Causeway(ctx, "ping", rig.Name, "--until-direct", "-c", "200")
	must(t, err)
}

// install puts the unit that is shipped and its program onto the host, as an
// administrator would, and starts it. Only the log is louder.
func (h *house) install(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile(shippedUnit)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(h.system.Share, unit), text, 0o644))
	forwarder := "off"
	if h.forward {
		forwarder = "on"
	}
	text, err = os.ReadFile(filepath.Join(filepath.Dir(shippedUnit), restoreUnit))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(h.system.Share, restoreUnit), text, 0o644))
	h.sh(t, `install -m 755 /run/host/causewayd `+program+`
install -m 644 /run/host/`+unit+` `+unitFile+`
install -m 644 /run/host/`+restoreUnit+` /etc/systemd/system/
mkdir -p `+unitFile+`.d
printf '[Service]\nEnvironment=CAUSEWAY_LOG_LEVEL=debug CAUSEWAY_DNS_FORWARDER=`+forwarder+`\n' > `+unitFile+`.d/rig.conf
systemctl daemon-reload
systemctl enable --now -q `+unit)
}

// sh runs a script on the host.
func (h *house) sh(t *testing.T, script string) string {
	t.Helper()
	output, err := h.system.Run(within(t, time.Minute), "sh", "-ec", script)
	must(t, err)
	return strings.TrimSpace(output)
}

// pid of the daemon, 0 for none.
func (h *house) pid(ctx context.Context) (string, error) {
	output, err := h.system.Run(ctx, "systemctl", "show", "-P", "MainPID", unit)
	return strings.TrimSpace(output), err
}

// startLoad begins the steady load and waits until all of it works.
func (h *house) startLoad(t *testing.T, rate int) {
	t.Helper()
	order := map[string]any{
		"names": map[string]string{
			rig.Name: h.addr, "main.myws.admin.coder": h.addr, "myws.coder": h.addr, "MAIN.MyWs.me.coder": h.addr,
		},
		"canary": map[string]string{sentinel: sentinelAddr},
		"public": map[string]string{},
		"rate":   rate, "nss_every": 25,
		"session": []string{
			"ssh", "-F", "none", "-o", "StrictHostKeyChecking=accept-new", "-o", "UserKnownHostsFile=/tmp/known_hosts", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR",
			rig.Name, `n=0; while :; do n=$((n+1)); echo $n; sleep 0.1; done`,
		},
		"status": []string{"/run/host/causeway", "status", "--watch", "--json"},
	}
	for number := range 4 {
		order["public"].(map[string]string)[testnet.PublicName(number)] = testnet.PublicAddr(number)
	}
	if h.flavour != testnet.Resolved {
		// Applications there go through libc, whatever is behind it.
		order["rate"], order["nss_every"] = 20, 1
	}
	text, err := json.Marshal(order)
	must(t, err)
	cmd := h.On(context.Background(), h.Path("probe"), "load")
	stdin, err := cmd.StdinPipe()
	must(t, err)
	loading, err := h.Start("load", cmd)
	must(t, err)
	h.load = rig.Follow(loading, stdin, 1)
	_, err = io.WriteString(stdin, string(text)+"\n")
	must(t, err)
	_, err = h.load.Healthy(within(t, 30*time.Second), time.Now(), 2*time.Second)
	must(t, err)
}

// journal is what the unit has logged.
func (h *house) journal(ctx context.Context) string {
	output, err := h.system.Run(ctx, "journalctl", "--no-pager", "-o", "short-precise", "-u", unit)
	if err != nil {
		output += err.Error()
	}
	return output
}

// close takes everything down, whatever state it is in, and shows the logs of
// a test that failed.
func (h *house) close(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if h.load != nil {
		h.load.Close()
	}
	if h.system != nil {
		if err := h.system.Thaw(ctx); err != nil {
			t.Error(err)
		}
		if dir := os.Getenv("CAUSEWAY_LOGS"); dir != "" {
			_ = os.WriteFile(filepath.Join(dir, "journal-"+string(h.flavour)+".log"), []byte(h.journal(ctx)), 0o644)
		}
		if t.Failed() {
			t.Log(shorten(h.Logs() + "==== daemon\n" + h.journal(ctx)))
		}
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

// shorten keeps the end of a long text.
func shorten(text string) string {
	const limit = 200 << 10
	if len(text) <= limit {
		return text
	}
	return "...\n" + text[len(text)-limit:]
}
