package agentwine

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/crypto/ssh"

	"github.com/causewayhq/causeway/control"
	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/server"
	"github.com/causewayhq/causeway/server/store"
	"github.com/causewayhq/causeway/tailnet"
	"github.com/causewayhq/causeway/tailnet/userspace"
)

// patience is long because the machine may be busy; conditions are polled.
const patience = 45 * time.Second

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatalf("waited %s for %s", patience, what)
}

// windows is a Windows with the agent's program.
type windows struct {
	Program     string
	Environment []string
}

// newWindows keeps one until the test ends.
func newWindows(t *testing.T) windows {
	t.Helper()
	if os.Getenv("CAUSEWAY_RIGS") == "" {
		t.Skip("a rig: make test and make e2e run it")
	}
	holder := exec.Command("go", "run", "./internal/wine", "-hold", "./cmd/causeway-agent")
	holder.Dir, holder.Stderr = "../..", t.Output()
	input, err := holder.StdinPipe()
	must(t, err)
	output, err := holder.StdoutPipe()
	must(t, err)
	must(t, holder.Start())
	t.Cleanup(func() {
		input.Close()
		if err := holder.Wait(); err != nil {
			t.Errorf("wine: %v", err)
		}
	})
	var w windows
	if err := json.NewDecoder(output).Decode(&w); err != nil {
		t.Fatalf("prepare Wine: %v", err)
	}
	return w
}

// command runs the agent's program, in a home directory and an environment that
// hold nothing of this test's.
func (w windows) command(ctx context.Context, arguments ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "wine", append([]string{w.Program}, arguments...)...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "CAUSEWAY_AGENT_LOG_LEVEL=info"}, w.Environment...)
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// said is what the program prints, and its exit code.
func (w windows) said(t *testing.T, arguments ...string) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := w.command(ctx, arguments...)
	output, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(output), cmd.ProcessState.ExitCode()
}

// windowsPath is a path of this machine as Wine has it.
func windowsPath(path string) string { return "Z:" + strings.ReplaceAll(path, "/", `\`) }

// rig is a control plane with one agent of one user.
type rig struct {
	t         *testing.T
	windows   windows
	url       *url.URL
	agent     store.Agent
	user      string // the user's token
	tokenFile string
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, windows: newWindows(t), tokenFile: filepath.Join(t.TempDir(), "token")}
	dir := t.TempDir()
	plane, err := server.New(t.Context(), server.Config{
		Logger:  slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError})),
		DataDir: dir, Listen: "127.0.0.1:0", STUNListen: "127.0.0.1:0", Version: "v0.0.0-test",
	})
	must(t, err)
	r.url, err = url.Parse(plane.URL())
	must(t, err)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- plane.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("server: %v", err)
		}
	})
	opened, err := store.OpenExisting(t.Context(), dir)
	must(t, err)
	defer opened.Close()
	user, err := opened.CreateUser(t.Context(), "alice", "")
	must(t, err)
	_, token, err := opened.CreateUserToken(t.Context(), user.ID, "", time.Hour)
	must(t, err)
	r.user = token.Reveal()
	workspace, err := opened.CreateWorkspace(t.Context(), user, "myws")
	must(t, err)
	r.agent, err = opened.CreateAgent(t.Context(), workspace, "main")
	must(t, err)
	_, token, err = opened.CreateAgentToken(t.Context(), r.agent.ID, 0)
	must(t, err)
	must(t, os.WriteFile(r.tokenFile, []byte(token.Reveal()+"\r\n"), 0o600))
	return r
}

// runArguments start the agent.
func (r *rig) runArguments() []string {
	return []string{"run", "--url", r.url.String(), "--token-file", windowsPath(r.tokenFile)}
}

// running is the agent, connected.
type running struct {
	t     *testing.T
	cmd   *exec.Cmd
	line  string
	ended chan error

	log recorder
}

// recorder keeps what is written.
type recorder struct {
	mu   sync.Mutex
	data strings.Builder
}

func (r *recorder) Write(data []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.data.Write(data)
}

func (r *recorder) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.data.String()
}

func (r *rig) startAgent() *running {
	r.t.Helper()
	started := &running{t: r.t, cmd: r.windows.command(context.Background(), r.runArguments()...), ended: make(chan error, 1)}
	started.cmd.Stderr = &started.log
	output, err := started.cmd.StdoutPipe()
	must(r.t, err)
	must(r.t, started.cmd.Start())
	lines := make(chan string, 1)
	go func() {
		reader := bufio.NewReader(output)
		line, _ := reader.ReadString('\n')
		lines <- line
		io.Copy(io.Discard, reader) //nolint:errcheck // its end is all that counts
		started.ended <- started.cmd.Wait()
	}()
	r.t.Cleanup(func() { started.cmd.Process.Kill() })
	select {
	case started.line = <-lines:
	case <-time.After(patience):
	}
	if !strings.HasPrefix(started.line, "connected to ") {
		r.t.Fatalf("the agent says %q\n%s", started.line, started.log.text())
	}
	return started
}

// interrupt is Ctrl-C, as Wine makes it of a signal.
func (r *running) interrupt() {
	r.t.Helper()
	must(r.t, r.cmd.Process.Signal(syscall.SIGINT))
	select {
	case err := <-r.ended:
		if err != nil {
			r.t.Errorf("the agent ended: %v\n%s", err, r.log.text())
		}
	case <-time.After(patience):
		r.t.Errorf("the agent does not end\n%s", r.log.text())
	}
}

// join is a user's node with a tunnel to the agent.
func (r *rig) join() *userspace.Net {
	r.t.Helper()
	id := uuid.New()
	node, err := userspace.New(userspace.Config{
		Logger: slog.New(slog.DiscardHandler), Identity: tailnet.NewIdentity(), NodeID: proto.NodeIDFromUUID(id),
		Addresses: []netip.Prefix{netip.PrefixFrom(proto.AddrFromUUID(proto.ServicePrefix, id), 128)},
	})
	must(r.t, err)
	loop := &control.Loop{
		Dialer:      &control.Dialer{URL: r.url, Path: control.UserPath, Token: func() string { return r.user }},
		Coordinatee: node.Engine(), Destinations: control.NewDestinations(r.agent.ID),
		RelayMap: node.Engine().SetRelayMap, Connected: func(connected bool, _ error) { node.Engine().SetControlConnected(connected) },
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = loop.Run(ctx) // it ends with its context only
	}()
	r.t.Cleanup(func() {
		cancel()
		<-done
		if err := node.Close(); err != nil {
			r.t.Error(err)
		}
	})
	return node
}

// dial connects to a port of the agent, as often as it takes.
func (r *rig) dial(from *userspace.Net, port uint16) net.Conn {
	r.t.Helper()
	var conn net.Conn
	eventually(r.t, "a connection to the agent", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		var err error
		conn, err = from.DialTCP(ctx, netip.AddrPortFrom(proto.AddrFromUUID(proto.ServicePrefix, r.agent.ID), port))
		return err == nil
	})
	r.t.Cleanup(func() { conn.Close() })
	return conn
}

func (r *rig) ssh(from *userspace.Net) (*ssh.Client, ssh.PublicKey) {
	r.t.Helper()
	var hostKey ssh.PublicKey
	wire, channels, requests, err := ssh.NewClientConn(r.dial(from, 22), "agent", &ssh.ClientConfig{
		User: "anyone", HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			hostKey = key
			return nil
		},
	})
	must(r.t, err)
	client := ssh.NewClient(wire, channels, requests)
	r.t.Cleanup(func() { client.Close() })
	return client, hostKey
}

// call asks the REST API as the user.
func (r *rig) call(method, path, body string, into any) int {
	r.t.Helper()
	request, err := http.NewRequestWithContext(r.t.Context(), method, r.url.String()+"/api/v2/workspaceagents/"+r.agent.ID.String()+path, strings.NewReader(body))
	must(r.t, err)
	request.Header.Set("Coder-Session-Token", r.user)
	response, err := http.DefaultClient.Do(request)
	must(r.t, err)
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	must(r.t, err)
	if into != nil {
		if err := json.Unmarshal(raw, into); err != nil {
			r.t.Fatalf("%s %s: %d %s: %v", method, path, response.StatusCode, raw, err)
		}
	}
	return response.StatusCode
}
