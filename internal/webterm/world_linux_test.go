package webterm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/causewayhq/causeway/internal/rig"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	password = "correct horse battery staple"
	patience = 30 * time.Second
)

// wanted says which rigs are: none skips, sample and all run.
func wanted(t *testing.T) (all bool) {
	t.Helper()
	switch os.Getenv("CAUSEWAY_RIGS") {
	case "":
		t.Skip("a rig with a browser: make test runs a sample, make e2e all")
	case "sample":
		return false
	}
	return true
}

// world is a server behind a front, and an agent.
type world struct {
	*testing.T
	bin, dir string
	front    *front
	url      string
	server   *program
	agent    *program
	token    string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, bin: os.Getenv("CAUSEWAY_BIN")}
	var err error
	// Not below the test's own directory: the agent's socket paths are limited.
	if w.dir, err = os.MkdirTemp("/var/tmp", "causeway-webterm-"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(w.dir) })
	if w.bin == "" {
		w.build()
	}
	listen := freeAddress(t)
	w.front = newFront(t, listen)
	w.url = "http://" + w.front.address
	w.server = w.start("server", "causeway-server", "run", "--listen", listen, "--access-url", w.url, "--stun-listen", "off", "--data-dir", w.dir+"/data", "--log-level", "info")
	w.eventually("the server answers", func() error {
		response, err := http.Get("http://" + listen + "/readyz")
		if err == nil {
			response.Body.Close()
		}
		return err
	})
	http.DefaultClient.CloseIdleConnections()
	w.admin(password+"\n", "user", "create", "alice", "--password-stdin")
	w.admin("", "workspace", "create", "alice/myws")
	w.token = field(t, w.admin("", "agent", "create", "alice/myws/main", "--json"), "token")
	w.startAgent()
	return w
}

func (w *world) build() {
	w.Helper()
	tags, err := rig.Tags(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	w.bin = w.dir
	build := exec.CommandContext(w.Context(), "go", "build", "-trimpath", "-tags", strings.Join(tags, ","), "-o", w.dir+"/",
		"github.com/causewayhq/causeway/cmd/causeway-server", "github.com/causewayhq/causeway/cmd/causeway-agent")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := build.CombinedOutput(); err != nil {
		w.Fatalf("build programs: %v\n%s", err, said)
	}
}

// admin runs a subcommand of the server beside it.
func (w *world) admin(stdin string, arguments ...string) string {
	w.Helper()
	command := exec.CommandContext(w.Context(), filepath.Join(w.bin, "causeway-server"), append(arguments, "--data-dir", w.dir+"/data")...)
	command.Stdin = strings.NewReader(stdin)
	var failure bytes.Buffer
	command.Stderr = &failure
	said, err := command.Output()
	if err != nil {
		w.Fatalf("causeway-server %s: %v\n%s", strings.Join(arguments, " "), err, failure.String())
	}
	return string(said)
}

func (w *world) startAgent() {
	w.Helper()
	home := w.dir + "/home"
	if err := os.MkdirAll(home, 0o755); err != nil {
		w.Fatal(err)
	}
	w.agent = w.start("agent", "causeway-agent", "run", "--url", w.url, "--state-dir", w.dir+"/agent", "--log-level", "info")
	w.eventually("the agent is connected", func() error {
		if !strings.Contains(w.agent.log(), "main.myws.me.coder") { // it says by which names it can be reached
			return errors.New("not yet")
		}
		return nil
	})
}

func (w *world) eventually(what string, try func() error) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	if err := rig.Eventually(ctx, try); err != nil {
		w.Fatalf("%s: %v", what, err)
	}
}

// program is a process of ours with its log.
type program struct {
	command *exec.Cmd
	output  lockedBuffer
	ended   chan struct{}
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (p *program) log() string {
	p.output.mu.Lock()
	defer p.output.mu.Unlock()
	return p.output.buf.String()
}

func (w *world) start(name, path string, arguments ...string) *program {
	w.Helper()
	p := &program{ended: make(chan struct{})}
	p.command = exec.Command(filepath.Join(w.bin, path), arguments...)
	p.command.Stdout, p.command.Stderr = &p.output, &p.output
	p.command.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + w.dir + "/home", "SHELL=/bin/bash", "LANG=C.UTF-8", "CAUSEWAY_AGENT_TOKEN=" + w.token}
	if err := p.command.Start(); err != nil {
		w.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		_ = p.command.Wait() // how it ended matters to nobody here
	}()
	w.Cleanup(func() {
		p.stop()
		if w.Failed() {
			text := p.log()
			w.Logf("log of %s:\n%s", name, text[max(0, len(text)-6000):])
		}
	})
	return p
}

// stop asks the program to end, and makes it after a while.
func (p *program) stop() {
	_ = p.command.Process.Signal(os.Interrupt)
	select {
	case <-p.ended:
	case <-time.After(15 * time.Second):
		_ = p.command.Process.Kill()
		<-p.ended
	}
}

// kill gives it no time for a goodbye.
func (p *program) kill() {
	_ = p.command.Process.Kill()
	<-p.ended
}

// front carries connections to the server, unless it is away.
type front struct {
	address, to string
	mu          sync.Mutex
	away        bool
	conns       map[net.Conn]struct{}
	work        sync.WaitGroup
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func newFront(t *testing.T, to string) *front {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &front{address: listener.Addr().String(), to: to, conns: map[net.Conn]struct{}{}}
	f.work.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			f.work.Go(func() { f.carry(conn) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		f.leave()
		f.work.Wait()
	})
	return f
}

func (f *front) carry(conn net.Conn) {
	defer conn.Close()
	far, err := net.Dial("tcp", f.to)
	if err != nil {
		return
	}
	defer far.Close()
	f.mu.Lock()
	if f.away {
		f.mu.Unlock()
		return
	}
	f.conns[conn], f.conns[far] = struct{}{}, struct{}{}
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(f.conns, conn)
		delete(f.conns, far)
		f.mu.Unlock()
	}()
	var back sync.WaitGroup
	back.Go(func() { _, _ = io.Copy(conn, far); conn.Close() })
	_, _ = io.Copy(far, conn)
	far.Close()
	back.Wait()
}

// leave cuts everything and refuses what comes.
func (f *front) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.away = true
	for conn := range f.conns {
		conn.Close()
	}
}

func (f *front) back() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.away = false
}

// cut breaks every connection, and takes new ones.
func (f *front) cut() { f.leave(); f.back() }

// field reads one text of a JSON object.
func field(t *testing.T, text, name string) string {
	t.Helper()
	_, rest, found := strings.Cut(text, fmt.Sprintf("%q: \"", name))
	if !found {
		_, rest, found = strings.Cut(text, fmt.Sprintf("%q:\"", name))
	}
	value, _, closed := strings.Cut(rest, `"`)
	if !found || !closed {
		t.Fatalf("no %s in %s", name, text)
	}
	return value
}
