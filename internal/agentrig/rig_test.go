package agentrig

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"

	"github.com/causewayhq/causeway/agent"
	"github.com/causewayhq/causeway/control"
	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/server"
	"github.com/causewayhq/causeway/server/store"
	"github.com/causewayhq/causeway/tailnet"
	"github.com/causewayhq/causeway/tailnet/userspace"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// Upstream's network monitor lives as long as the process.
		goleak.IgnoreTopFunction("tailscale.com/net/netmon.(*nlConn).Receive"),
	)
}

// patience is long because the machine may be busy; conditions are polled.
const patience = 45 * time.Second

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatalf("waited %s for %s", patience, what)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func testLogger() *slog.Logger {
	level := slog.LevelError
	if os.Getenv("CAUSEWAY_TEST_VERBOSE") != "" {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
}

// rig is a control plane with one agent of one user.
type rig struct {
	t     *testing.T
	url   *url.URL
	agent store.Agent
	// user and agentToken are their tokens.
	user, agentToken, stateDir string
	agentLog                   lockedBuffer
}

// lockedBuffer takes the agent's log from its goroutines.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(data []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(data)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, stateDir: t.TempDir()}
	dir := t.TempDir()
	plane, err := server.New(t.Context(), server.Config{
		Logger: testLogger(), DataDir: dir, Listen: "127.0.0.1:0", STUNListen: "127.0.0.1:0", Version: "v0.0.0-test",
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
		http.DefaultClient.CloseIdleConnections()
	})
	// As the subcommands do it, beside the running server.
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
	r.agentToken = token.Reveal()
	return r
}

// startAgent runs the agent until stop or the end of the test.
func (r *rig) startAgent() (stop func()) {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	connected, ended := make(chan []string, 16), make(chan error, 1)
	go func() {
		ended <- agent.Run(ctx, agent.Config{
			Logger: slog.New(slog.NewTextHandler(&r.agentLog, &slog.HandlerOptions{Level: slog.LevelInfo})), URL: r.url, Token: agent.FixedToken(agent.Token(r.agentToken)), StateDir: r.stateDir, Version: "v0.0.0-test",
			Connected: func(names []string) { connected <- names },
		})
	}()
	done := false
	stop = func() {
		if done {
			return
		}
		done = true
		cancel()
		if err := <-ended; err != nil {
			r.t.Errorf("agent: %v", err)
		}
	}
	r.t.Cleanup(stop)
	select {
	case <-connected:
	case err := <-ended:
		ended <- nil
		r.t.Fatalf("the agent ended: %v", err)
	case <-time.After(patience):
		r.t.Fatal("the agent does not connect")
	}
	return stop
}

// join is a user's node with a tunnel to the agent.
func (r *rig) join() *userspace.Net {
	r.t.Helper()
	id := uuid.New()
	node, err := userspace.New(userspace.Config{
		Logger: testLogger(), Identity: tailnet.NewIdentity(), NodeID: proto.NodeIDFromUUID(id),
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

// ssh connects to the agent, as often as it takes.
func (r *rig) ssh(from *userspace.Net) *ssh.Client {
	r.t.Helper()
	var conn net.Conn
	eventually(r.t, "a connection to the agent", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		var err error
		conn, err = from.DialTCP(ctx, netip.AddrPortFrom(proto.AddrFromUUID(proto.ServicePrefix, r.agent.ID), 22))
		return err == nil
	})
	wire, channels, requests, err := ssh.NewClientConn(conn, "agent", &ssh.ClientConfig{
		User: "anyone", HostKeyCallback: ssh.InsecureIgnoreHostKey(), //nolint:gosec // the tunnel knows who it is
	})
	must(r.t, err)
	client := ssh.NewClient(wire, channels, requests)
	r.t.Cleanup(func() { client.Close() })
	return client
}

// run gives what a command prints in a session of its own.
func run(t *testing.T, client *ssh.Client, command string) string {
	t.Helper()
	session, err := client.NewSession()
	must(t, err)
	defer session.Close()
	text, err := session.Output(command)
	if err != nil {
		t.Fatalf("run %q: %v", command, err)
	}
	return string(text)
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
