package signin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/causewayhq/causeway/internal/rig"
	"github.com/causewayhq/causeway/internal/testnet"
)

const (
	password    = "correct horse battery staple"
	frontSecret = "pl4nted-fr0nt-header"
	// Where the server listens, and what everybody reaches it by: a front that
	// can be away, and that can want a header.
	serverAddr = "127.0.0.1:7080"
	frontAddr  = "127.0.0.1:7081"
	coderAddr  = "127.0.0.1:7082"
	serverURL  = "http://" + frontAddr
	coderURL   = "http://" + coderAddr
)

// tokens of causeway-server look so, and so does what a test plants.
var anyToken = regexp.MustCompile(`cwu_[A-Za-z0-9]+_[A-Za-z0-9]+`)

// world is one host with all that a sign-in needs.
type world struct {
	*testing.T            // of the part that runs
	whole      *testing.T // of all parts
	host       *testnet.Host
	bin        string
	dir        string
	server     *program
	daemon     *program
	front      *front
	watch      *watch
	outputs    *output // of all commands
}

type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(data []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(data)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

func newWorld(t *testing.T) *world {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: the server, the daemon and the commands run in namespaces of their own")
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		t.Skipf("needs TUN devices: %v", err)
	}
	// The host has a /tmp of its own.
	dir, err := os.MkdirTemp("/var/tmp", "cwsignin")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, whole: t, dir: dir, outputs: &output{}, bin: os.Getenv("CAUSEWAY_BIN")}
	if w.bin == "" {
		w.bin = dir
		if err := rig.Sources("../.."); err != nil {
			t.Fatal(err)
		}
		build := exec.CommandContext(t.Context(), "go", "build", "-o", dir+"/", "../../cmd/causeway", "../../cmd/causewayd", "../../cmd/causeway-server")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if said, err := build.CombinedOutput(); err != nil {
			t.Fatalf("build programs: %v\n%s", err, said)
		}
	}
	if w.host, err = testnet.NewHost(t.Context(), "signin-host"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.host.Close() })
	w.watch = startWatch(t, w.host.PID())
	w.front = startFront(w)
	w.startServer()
	for _, user := range []string{"alice", "bob"} {
		command := w.command("causeway-server", "user", "create", user, "--password-stdin", "--json")
		command.Stdin = strings.NewReader(password + "\n")
		if said, err := command.CombinedOutput(); err != nil {
			t.Fatalf("create user %s: %v\n%s", user, err, said)
		}
	}
	w.startDaemon()
	return w
}

func (w *world) command(program string, arguments ...string) *exec.Cmd {
	command := w.host.Command(w.whole.Context(), filepath.Join(w.bin, program), arguments...)
	command.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/root", "TERM=xterm"}
	return command
}

func (w *world) startServer() {
	w.Helper()
	started, err := w.start("server", w.command("causeway-server", "run", "--listen", serverAddr, "--access-url", serverURL, "--stun-listen", "off", "--log-level", "debug"))
	if err != nil {
		w.Fatal(err)
	}
	w.server = started
	w.eventually("the server is ready", func() error { _, err := w.newBrowser().request("GET", "http://"+serverAddr+"/readyz", nil); return err })
}

func (w *world) startDaemon() {
	w.Helper()
	started, err := w.start("daemon", w.command("causewayd", "run", "--log-level", "debug"))
	if err != nil {
		w.Fatal(err)
	}
	w.daemon = started
	w.eventually("the daemon answers", func() error { return w.causeway(nil, "version", "--daemon").failure() })
}

func (w *world) start(name string, command *exec.Cmd) (*program, error) {
	return startProgram(w, name, command)
}

func (w *world) eventually(what string, try func() error) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), 30*time.Second)
	defer cancel()
	if err := rig.Eventually(ctx, try); err != nil {
		w.Fatalf("%s: %v\nserver: %s\ndaemon: %s", what, err, w.server.log(), w.daemon.log())
	}
}

// run is a command that runs.
type run struct {
	w              *world
	command        *exec.Cmd
	stdout, stderr output
	code           chan int
}

// start runs causeway; env is added to its environment.
func (w *world) begin(env []string, stdin *os.File, arguments ...string) *run {
	w.Helper()
	r := &run{w: w, command: w.command("causeway", arguments...), code: make(chan int, 1)}
	r.command.Env = append(r.command.Env, env...)
	r.command.Stdout, r.command.Stderr = &r.stdout, &r.stderr
	if stdin != nil {
		r.command.Stdin = stdin
	}
	if err := r.command.Start(); err != nil {
		w.Fatal(err)
	}
	go func() {
		err := r.command.Wait()
		fmt.Fprintf(w.outputs, "$ causeway %s\n%s%s", strings.Join(arguments, " "), r.stdout.String(), r.stderr.String())
		var exit *exec.ExitError
		switch {
		case err == nil:
			r.code <- 0
		case errors.As(err, &exit):
			r.code <- exit.ExitCode()
		default:
			r.code <- -1
		}
	}()
	return r
}

// shows waits until the command has printed a match, and gives its first group.
func (r *run) shows(pattern string) string {
	r.w.Helper()
	want := regexp.MustCompile(pattern)
	found := ""
	r.w.eventually("the command says "+pattern, func() error {
		match := want.FindStringSubmatch(r.stderr.String())
		if match == nil {
			return fmt.Errorf("it says %q", r.stderr.String())
		}
		found = match[len(match)-1]
		return nil
	})
	return found
}

// ends waits for the command, which must end with that code.
func (r *run) ends(want int) *run {
	r.w.Helper()
	select {
	case code := <-r.code:
		if code != want {
			r.w.Fatalf("causeway %s: exit code %d, want %d\n%s%s", strings.Join(r.command.Args[8:], " "), code, want, r.stdout.String(), r.stderr.String())
		}
	case <-time.After(30 * time.Second):
		r.w.Fatalf("causeway %s: still running after 30 s\n%s%s", strings.Join(r.command.Args[8:], " "), r.stdout.String(), r.stderr.String())
	}
	return r
}

func (r *run) says(texts ...string) *run {
	r.w.Helper()
	for _, text := range texts {
		if all := r.stdout.String() + r.stderr.String(); !strings.Contains(all, text) {
			r.w.Errorf("causeway %s does not say %q:\n%s", strings.Join(r.command.Args[8:], " "), text, all)
		}
	}
	return r
}

func (r *run) failure() error {
	if code := <-r.code; code != 0 {
		return fmt.Errorf("exit code %d: %s", code, r.stderr.String())
	}
	return nil
}

func (w *world) causeway(env []string, arguments ...string) *run {
	w.Helper()
	return w.begin(env, nil, arguments...)
}

// paste runs causeway on a terminal and types the token at the prompt.
func (w *world) paste(token string, arguments ...string) *run {
	w.Helper()
	ours, theirs, err := pty.Open()
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { ours.Close() })
	r := w.begin(nil, theirs, arguments...)
	theirs.Close()
	r.shows(`it is not shown`)
	if _, err := ours.WriteString(token + "\r"); err != nil {
		w.Fatal(err)
	}
	return r
}

// status is what the daemon says, as far as a sign-in matters.
type status struct {
	State            string                                 `json:"state"`
	User             string                                 `json:"user"`
	ControlConnected bool                                   `json:"control_connected"`
	TokenExpiresAt   *time.Time                             `json:"token_expires_at"`
	Problems         []struct{ Code, Cause, Remedy string } `json:"problems"`
}

func (s status) problem(code string) (cause, remedy string, found bool) {
	for _, one := range s.Problems {
		if one.Code == code {
			return one.Cause, one.Remedy, true
		}
	}
	return "", "", false
}

func (w *world) status() (status, error) {
	r := w.causeway(nil, "status", "--json")
	<-r.code
	var now status
	if err := json.Unmarshal([]byte(r.stdout.String()), &now); err != nil {
		return status{}, fmt.Errorf("read status: %w: %s%s", err, r.stdout.String(), r.stderr.String())
	}
	return now, nil
}

// keptToken is the active profile's, as the daemon keeps it.
func (w *world) keptToken() string {
	w.Helper()
	text, err := w.host.Run(w.Context(), "cat", "/var/lib/causeway/service.json")
	if err != nil {
		w.Fatal(err)
	}
	return anyToken.FindString(text)
}

// good asks the server who a token belongs to.
func (w *world) good(token string) bool {
	w.Helper()
	b := w.newBrowser()
	b.header.Set("Coder-Session-Token", token)
	got, err := b.request("GET", "http://"+serverAddr+"/api/v2/users/me", nil)
	if err != nil {
		w.Fatal(err)
	}
	return got.status == 200
}

func (w *world) admin(arguments ...string) string {
	w.Helper()
	said, err := w.command("causeway-server", arguments...).Output()
	if err != nil {
		w.Fatalf("causeway-server %s: %v", strings.Join(arguments, " "), err)
	}
	return strings.TrimSpace(string(said))
}

// opener is a program for CAUSEWAY_BROWSER that keeps the page's address in a
// file.
func (w *world) opener() (env []string, opened func() string) {
	w.Helper()
	dir, err := os.MkdirTemp(w.dir, "opener")
	if err != nil {
		w.Fatal(err)
	}
	script, file := filepath.Join(dir, "browser"), filepath.Join(dir, "page")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho \"$1\" >"+file+".new && mv "+file+".new "+file+"\n"), 0o755); err != nil {
		w.Fatal(err)
	}
	return []string{"CAUSEWAY_BROWSER=" + script}, func() string {
		w.Helper()
		var data []byte
		w.eventually("the browser is opened", func() error { data, err = os.ReadFile(file); return err })
		return strings.TrimSpace(string(data))
	}
}

// program is a server that runs until the test ends.
type program struct {
	command *exec.Cmd
	said    output
	done    chan struct{}
}

func startProgram(w *world, name string, command *exec.Cmd) (*program, error) {
	p := &program{command: command, done: make(chan struct{})}
	command.Stdout, command.Stderr = &p.said, &p.said
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		_ = command.Wait() // it is ended by us
		close(p.done)
	}()
	w.whole.Cleanup(p.stop)
	return p, nil
}

func (p *program) log() string {
	if p == nil {
		return ""
	}
	return p.said.String()
}

func (p *program) stop() {
	p.command.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(20 * time.Second):
		p.command.Process.Kill()
		<-p.done
	}
}
