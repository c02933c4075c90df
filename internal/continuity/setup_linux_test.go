package continuity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
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

// The workspace whose agent is replaced, beside the rig's own.
const (
	spare     = "spare"
	spareName = rig.Agent + "." + spare + ".me.coder"
	echoPort  = "9300"
	// The name that is never in the hosts file, as proto and workspace define it.
	sentinel     = "is.coder--connect--enabled--right--now.coder"
	sentinelAddr = "fd60:627a:a42b::53"
)

// house is the whole rig: a Causeway with its relay apart, whose client is a
// real systemd host behind one of two routers.
type house struct {
	*rig.Stack
	system     *testnet.System
	relay      *testnet.Host
	away       *site
	user       string // admin's token
	addr       string // of rig.Name
	spareAgent *rig.Program
	spareCount int
	load       *rig.Load
	lengths    lengths
	isCut      bool
	holed      bool
	quiet      time.Duration // p99 of lookups while nothing happens
}

// build sets everything up, down to the direct path.
func build(t *testing.T) *house {
	t.Helper()
	must(t, testnet.BuildSystem(t.Context(), testnet.Resolved, t.Output()))
	net, err := testnet.New(t.Context(), testnet.EasyNAT, testnet.EasyNAT)
	must(t, err)
	dir := os.Getenv("CAUSEWAY_LOGS") // to keep them
	if dir == "" {
		dir = t.TempDir()
	}
	h := &house{Stack: rig.New(net, bin, dir)}
	t.Cleanup(func() { h.close(t) })
	h.relay, err = net.AddHost(t.Context(), "relay", testnet.RelayAddr)
	must(t, err)
	second, err := net.AddUplink(t.Context(), wan(1, 0))
	must(t, err)
	h.away = &site{client: net.Client, routers: [2]*testnet.Host{net.ClientRouter, second}}
	h.system, err = testnet.Boot(within(t, 3*time.Minute), net.Client, testnet.Resolved)
	must(t, err)
	must(t, h.OnSystem(h.system))
	// Nothing may answer in our place: a cached answer would hide a gap.
	_, err = h.system.Run(t.Context(), "sh", "-ec", `mkdir -p /etc/systemd/resolved.conf.d
printf '[Resolve]\nCache=no\n' > /etc/systemd/resolved.conf.d/rig.conf
systemctl restart systemd-resolved`)
	must(t, err)
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
	h.user, err = h.AddUser(ctx, rig.Owner)
	must(t, err)
	agent, err := h.AddAgent(ctx, rig.Owner, rig.Workspace, rig.Agent)
	must(t, err)
	must(t, h.StartAgent(ctx, agent))
	token, err := h.AddAgent(ctx, rig.Owner, spare, rig.Agent)
	must(t, err)
	h.startSpare(t, token)
	echo, err := h.Start("echo", h.Net.Agent.Command(context.WithoutCancel(ctx), h.Path("probe"), "tcp-echo", "127.0.0.1:"+echoPort))
	must(t, err)
	t.Cleanup(echo.Kill)
	must(t, h.StartDaemon(ctx))
	must(t, h.Login(ctx, h.user))
	_, err = h.Causeway(ctx, "up")
	must(t, err)
	must(t, rig.Eventually(ctx, func() error {
		h.addr, err = h.addressOf(ctx, rig.Name)
		return err
	}))
	_, err = h.Causeway(ctx, "ping", rig.Name, "--until-direct", "-c", "200")
	must(t, err)
}

// startSpare starts an agent of the spare workspace, beside the rig's own on
// the same host, in place of the last one.
func (h *house) startSpare(t *testing.T, token string) {
	t.Helper()
	if h.spareAgent != nil {
		h.spareAgent.Kill()
	}
	h.spareCount++
	name := fmt.Sprintf("spare-%d", h.spareCount)
	cmd := h.Net.Agent.Command(context.Background(), h.Path("causeway-agent"), "run", "--url", h.URL, "--state-dir", "/var/lib/"+name)
	cmd.Env = append(os.Environ(), "CAUSEWAY_AGENT_TOKEN="+token, "HOME=/tmp", "USER=root", "LOGNAME=root")
	var err error
	h.spareAgent, err = h.Start(name, cmd)
	must(t, err)
	must(t, h.spareAgent.WaitFor(within(t, 30*time.Second), "connected"))
}

// addressOf asks the system's resolver once.
func (h *house) addressOf(ctx context.Context, name string) (string, error) {
	output, err := h.Client(ctx, "getent", "ahostsv6", name)
	addr, _, _ := strings.Cut(output, " ")
	return addr, err
}

// startLoad begins the steady load and waits until all of it works.
func (h *house) startLoad(t *testing.T, rate, flows int) {
	t.Helper()
	order, err := json.Marshal(map[string]any{
		"names": map[string]string{
			rig.Name: h.addr, "main.myws.admin.coder": h.addr, "myws.coder": h.addr, "MAIN.MyWs.me.coder": h.addr, spareName: "",
			sentinel: sentinelAddr, // which no hosts file answers
		},
		"rate": rate, "nss_every": 25, "flows": flows, "echo": rig.Name + ":" + echoPort,
		"session": []string{
			"ssh", "-F", "none", "-o", "StrictHostKeyChecking=accept-new", "-o", "UserKnownHostsFile=/tmp/known_hosts", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR",
			rig.Name, `n=0; while :; do n=$((n+1)); echo $n; sleep 0.1; done`,
		},
		"status": []string{"/run/host/causeway", "status", "--watch", "--json"},
	})
	must(t, err)
	cmd := h.On(context.Background(), h.Path("probe"), "load")
	stdin, err := cmd.StdinPipe()
	must(t, err)
	program, err := h.Start("load", cmd)
	must(t, err)
	h.load = rig.Follow(program, stdin, flows+1)
	_, err = io.WriteString(stdin, string(order)+"\n")
	must(t, err)
	_, err = h.load.Healthy(within(t, 30*time.Second), time.Now(), 2*time.Second)
	must(t, err)
}

// signalDaemon sends the daemon on the systemd host a signal: the process that
// the rig started is only the one that entered the host.
func (h *house) signalDaemon(ctx context.Context, signal string) error {
	return h.On(ctx, "pkill", "-"+signal, "-x", "causewayd").Run()
}

// endDaemon waits for its end, too.
func (h *house) endDaemon(ctx context.Context, signal string) error {
	if err := h.signalDaemon(ctx, signal); err != nil {
		return nil // there is none
	}
	return rig.Eventually(ctx, func() error {
		if output, err := h.Client(ctx, "pgrep", "-x", "causewayd"); err == nil {
			return errors.New("the daemon still runs: " + output)
		}
		return nil
	})
}

// close takes everything down, whatever state it is in, and shows the logs of
// a test that failed.
func (h *house) close(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if h.load != nil {
		h.load.Close()
	}
	if h.system != nil {
		if err := h.system.Thaw(ctx); err != nil {
			t.Error(err)
		}
		if err := h.endDaemon(ctx, "TERM"); err != nil {
			h.signalDaemon(ctx, "QUIT")
			t.Error(err)
		}
	}
	if h.spareAgent != nil {
		h.spareAgent.Kill()
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	if t.Failed() {
		t.Log(shorten(h.Logs()))
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
