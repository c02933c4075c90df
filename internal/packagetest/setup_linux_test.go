package packagetest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
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

// The versions that are built for the rig: one, and the next.
const (
	first = "1.0.0"
	next  = "1.1.0"
)

// bin holds the programs of the rest of the net, packages those of each version.
var bin, packages string

func TestMain(m *testing.M) { os.Exit(run(m)) }

// What all rigs have, by short names.
var (
	figure = rigtest.Figure
	must   = rigtest.Must
	within = rigtest.Within
)

func run(m *testing.M) int {
	if os.Getenv("CAUSEWAY_RIGS") != "all" {
		return m.Run()
	}
	// What is built already, for somebody at work on the tests.
	bin, packages = os.Getenv("CAUSEWAY_BIN"), os.Getenv("CAUSEWAY_PACKAGES")
	if bin != "" && packages != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("/var/tmp", "causeway-packagetest-") // hosts have a /tmp of their own
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	bin, packages = filepath.Join(dir, "bin"), filepath.Join(dir, "packages")
	if err := buildAll(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func buildAll(ctx context.Context) error {
	if err := os.Mkdir(bin, 0o755); err != nil {
		return err
	}
	if err := rig.Build(ctx, bin); err != nil {
		return err
	}
	for _, version := range []string{first, next} {
		cmd := exec.CommandContext(ctx, "../../scripts/packages.sh", filepath.Join(packages, "v"+version))
		cmd.Env = append(os.Environ(), "VERSION=v"+version, "ARCHES=amd64", "FORMATS=deb rpm")
		if output, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build packages: %w: %s", err, output)
		}
	}
	return nil
}

// whole skips a test that needs hosts, unless all rigs are wanted.
func whole(t *testing.T) {
	t.Helper()
	if os.Getenv("CAUSEWAY_RIGS") != "all" {
		t.Skip("a rig: make e2e runs it")
	}
	if os.Geteuid() != 0 {
		t.Fatal("rigs need root")
	}
}

const (
	unit   = "causewayd.service"
	device = "causeway0"
	// The user who installs, and the number.
	alice, aliceID = "alice", "1001"
	// The name that is never in the net, as proto and workspace define it.
	sentinel     = "is.coder--connect--enabled--right--now.coder"
	sentinelAddr = "fd60:627a:a42b::53"
)

// host is a systemd host on the net of a whole Causeway, with a disk, apt and
// nothing of ours.
type host struct {
	*rig.Stack
	flavour testnet.Flavour
	system  *testnet.System
	token   string // of the user
	addr    string // of rig.Name
	load    *rig.Load
}

func newHost(t *testing.T, flavour testnet.Flavour) *host {
	t.Helper()
	must(t, testnet.BuildSystem(t.Context(), flavour, t.Output()))
	net, err := testnet.New(t.Context(), testnet.EasyNAT, testnet.EasyNAT)
	must(t, err)
	disk, err := os.MkdirTemp("/var/tmp", "causeway-disk-")
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(disk)) })
	dir := os.Getenv("CAUSEWAY_LOGS") // to keep them
	if dir == "" {
		dir = t.TempDir()
	}
	h := &host{Stack: rig.New(net, bin, dir), flavour: flavour}
	t.Cleanup(func() { h.close(t) })
	must(t, net.ServeNames(t.Context()))
	h.system, err = testnet.BootKept(within(t, 3*time.Minute), net.Client, flavour, disk)
	must(t, err)
	must(t, h.OnSystem(h.system))
	h.sh(t, `useradd --create-home --uid `+aliceID+` --shell /bin/sh `+alice)
	if flavour == testnet.Resolved {
		// Nothing may answer in our place: a cached answer would hide a gap.
		h.sh(t, `mkdir -p /etc/systemd/resolved.conf.d
printf '[Resolve]\nCache=no\n' > /etc/systemd/resolved.conf.d/rig.conf
systemctl restart systemd-resolved`)
	}
	for _, version := range []string{first, next} {
		for _, name := range []string{"causeway", "causeway-server", "causeway-agent"} {
			file := fmt.Sprintf("%s_%s_amd64.deb", name, version)
			must(t, exec.Command("cp", filepath.Join(packages, "v"+version, file), h.system.Share).Run())
		}
	}
	ctx := within(t, time.Minute)
	must(t, h.StartServer(ctx))
	h.token, err = h.AddUser(ctx, rig.Owner)
	must(t, err)
	agent, err := h.AddAgent(ctx, rig.Owner, rig.Workspace, rig.Agent)
	must(t, err)
	must(t, h.StartAgent(ctx, agent))
	return h
}

// apt runs apt-get without network and without questions.
func (h *host) apt(t *testing.T, env, what string) string {
	t.Helper()
	return h.sh(t, `cd /run/host; DEBIAN_FRONTEND=noninteractive `+env+` apt-get -qq -y `+what+` 2>&1`)
}

// file is a package as apt takes it.
func file(name, version string) string { return fmt.Sprintf("./%s_%s_amd64.deb", name, version) }

// sh runs a script on the host.
func (h *host) sh(t *testing.T, script string) string {
	t.Helper()
	output, err := h.system.Run(within(t, 2*time.Minute), "sh", "-ec", script)
	must(t, err)
	return strings.TrimSpace(output)
}

// resolves waits until our name does, and returns how long that took.
func (h *host) resolves(t *testing.T) time.Duration {
	t.Helper()
	began := time.Now()
	must(t, rig.Eventually(within(t, 30*time.Second), func() error {
		output, err := h.system.Run(t.Context(), "getent", "ahostsv6", rig.Name)
		h.addr, _, _ = strings.Cut(output, " ")
		return err
	}))
	return time.Since(began)
}

// ssh is how a user gets a shell in the workspace: with nothing of ours.
func ssh(command string) []string {
	return []string{
		"ssh", "-F", "none", "-o", "StrictHostKeyChecking=accept-new", "-o", "UserKnownHostsFile=/tmp/known_hosts", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR",
		rig.Name, command,
	}
}

// session runs a command in the workspace.
func (h *host) session(t *testing.T, command string) string {
	t.Helper()
	args := ssh(command)
	output, err := h.system.Run(within(t, 30*time.Second), args[0], args[1:]...)
	must(t, err)
	return strings.TrimSpace(output)
}

// startLoad begins 50 lookups a second and an SSH session, and waits until all
// of it works.
func (h *host) startLoad(t *testing.T) {
	t.Helper()
	order := map[string]any{
		"names": map[string]string{
			rig.Name: h.addr, "main.myws.admin.coder": h.addr, "myws.coder": h.addr, "MAIN.MyWs.me.coder": h.addr,
		},
		"canary": map[string]string{sentinel: sentinelAddr}, "public": map[string]string{},
		"rate": 50, "nss_every": 25,
		"session": ssh(`n=0; while :; do n=$((n+1)); echo $n; sleep 0.1; done`),
		"status":  []string{"/run/host/causeway", "status", "--watch", "--json"},
	}
	for number := range 4 {
		order["public"].(map[string]string)[testnet.PublicName(number)] = testnet.PublicAddr(number)
	}
	if h.flavour != testnet.Resolved {
		// Applications there go through libc, each by a process of its own.
		// The canary is in no hosts file, and there is nothing else here.
		order["rate"], order["nss_every"], order["canary"] = 20, 1, map[string]string{}
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

func (h *host) stopLoad() {
	if h.load != nil {
		h.load.Close()
		h.load = nil
	}
}

// close takes everything down, and shows the logs of a test that failed.
func (h *host) close(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	h.stopLoad()
	if h.system != nil && t.Failed() {
		journal, err := h.system.Run(ctx, "journalctl", "--no-pager", "-o", "short-precise", "-n", "300")
		t.Log(h.Logs(), "==== journal\n", journal, err)
	}
	for _, end := range []func() error{h.Close, func() error {
		if h.system == nil {
			return nil
		}
		return h.system.Close()
	}, h.Net.Close} {
		if err := end(); err != nil {
			t.Error(err)
		}
	}
}
