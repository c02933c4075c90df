//go:build unix

package sshd

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/crypto/ssh"

	"github.com/causewayhq/causeway/agent/login"
)

// rig is a server on loopback and the options that make OpenSSH reach it.
type rig struct {
	t         *testing.T
	server    *Server
	port      string
	directory string
	options   []string
}

func newRig(t *testing.T, environment ...string) *rig {
	t.Helper()
	return newRigWith(t, func(config *Config) { config.Login.Environment = func() []string { return environment } })
}

func newRigWith(t *testing.T, adapt func(*Config)) *rig {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, directory: t.TempDir()}
	config := Config{
		HostKey: signer, Logger: slog.New(slog.DiscardHandler),
		Login: login.Login{Directory: func() string { return r.directory }},
	}
	adapt(&config)
	r.server, err = New(config)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, r.port, _ = net.SplitHostPort(listener.Addr().String())
	served := make(chan error, 1)
	go func() { served <- r.server.Serve(listener) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := r.server.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	r.options = []string{
		"-F", "none", "-o", "StrictHostKeyChecking=accept-new", "-o", "LogLevel=ERROR", "-o", "BatchMode=yes", "-o", "IdentityFile=none",
		"-o", "UserKnownHostsFile=" + filepath.Join(t.TempDir(), "known_hosts"), "-o", "Port=" + r.port,
	}
	return r
}

// openssh finds a program of the real client, or skips the test.
func openssh(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s of the OpenSSH client is not installed: %v", name, err)
	}
	return path
}

// command is the real client with our options in front; it is killed when the
// test hangs.
func (r *rig) command(program string, arguments ...string) *exec.Cmd {
	r.t.Helper()
	return r.within(60*time.Second, program, arguments...)
}

// long is a command that has much to do.
func (r *rig) long(program string, arguments ...string) *exec.Cmd {
	r.t.Helper()
	return r.within(5*time.Minute, program, arguments...)
}

func (r *rig) within(limit time.Duration, program string, arguments ...string) *exec.Cmd {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	r.t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, openssh(r.t, program), append(append([]string{}, r.options...), arguments...)...)
	cmd.WaitDelay = time.Second
	return cmd
}

// ssh runs a command on the server and returns what it printed and its status.
func (r *rig) ssh(input string, arguments ...string) (stdout, stderr string, status int) {
	r.t.Helper()
	cmd := r.command("ssh", arguments...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &errs
	err := cmd.Run()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		r.t.Fatalf("run ssh: %v", err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func TestExec(t *testing.T) {
	r := newRig(t, "CODER=true", "CODER_AGENT_TOKEN=from-config")
	home := r.directory
	tests := []struct {
		name, input, command string
		options              []string
		stdout, stderr       string
		status               int
	}{
		{name: "success", command: "echo hello", stdout: "hello\n"},
		{name: "failure", command: "exit 7", status: 7},
		{name: "status 255", command: "exit 255", status: 255},
		{name: "not found", command: "causeway-no-such-program 2>/dev/null", status: 127},
		{name: "standard error", command: "echo out; echo err >&2; exit 3", stdout: "out\n", stderr: "err\n", status: 3},
		{name: "input and its end", input: "one\ntwo\n", command: "wc -l", stdout: "2\n"},
		{name: "directory", command: "pwd", stdout: home + "\n"},
		{name: "no terminal, no TERM of ours", command: "test -t 1 || echo pipes", stdout: "pipes\n"},
		{name: "environment", command: "echo $CODER $CODER_AGENT_TOKEN; echo $SSH_CLIENT/$SSH_CONNECTION", stdout: "true from-config\n0.0.0.0 0 0/0.0.0.0 0 0.0.0.0 0\n"},
		{
			name: "client environment, magic stripped", command: "echo $FROM_CLIENT; env | grep -c '^CODER_SSH_SESSION_TYPE\\|^CODER_CONTAINER'",
			options: []string{"-o", "SetEnv=FROM_CLIENT=yes CODER_SSH_SESSION_TYPE=vscode CODER_CONTAINER=x CODER_CONTAINER_USER=y"},
			stdout:  "yes\n0\n", status: 1,
		},
		{name: "script", command: "#!/bin/sh -e\necho \"script $0\" | cut -d' ' -f1\nfalse\necho never", stdout: "script\n", status: 1},
		{name: "script without interpreter", command: "#!\necho", stderr: "causeway-agent: start session: run script: the first line names no interpreter\r\n", status: 229},
		{name: "script with an absent interpreter", command: "#!/causeway/no/such\necho", stderr: "causeway-agent: start session: start /causeway/no/such: fork/exec /causeway/no/such: no such file or directory\r\n", status: 229},
		// OpenSSH reports 255 for a death by signal, and so it does with its own server.
		{name: "killed", command: "kill -KILL $$", status: 255},
		{name: "input nobody reads", input: strings.Repeat("x", 4<<20), command: "exit 5", status: 5},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			stdout, stderr, status := r.ssh(test.input, append(test.options, "127.0.0.1", test.command)...)
			if stdout != test.stdout || stderr != test.stderr || status != test.status {
				t.Errorf("got %q, %q, status %d; want %q, %q, status %d", stdout, stderr, status, test.stdout, test.stderr, test.status)
			}
		})
	}
}

func TestInheritedSettingsAreHidden(t *testing.T) {
	t.Setenv("CAUSEWAY_AGENT_TOKEN", "secret")
	t.Setenv("CAUSEWAY_KEPT", "kept")
	stdout, _, _ := newRig(t).ssh("", "127.0.0.1", "echo [$CAUSEWAY_AGENT_TOKEN] $CAUSEWAY_KEPT")
	if stdout != "[] kept\n" {
		t.Errorf("got %q", stdout)
	}
}

func TestMissingDirectoryFallsBackToHome(t *testing.T) {
	r := newRig(t)
	r.directory = filepath.Join(r.directory, "absent")
	stdout, _, status := r.ssh("", "127.0.0.1", "test $PWD = ~ && echo home")
	if stdout != "home\n" || status != 0 {
		t.Errorf("got %q, status %d", stdout, status)
	}
}

func TestNoTailIsLost(t *testing.T) {
	r := newRig(t)
	for _, terminal := range []bool{false, true} {
		for range 5 {
			arguments := []string{"127.0.0.1", "head -c 1048576 /dev/zero | tr '\\0' x; printf end"}
			if terminal {
				arguments = append([]string{"-tt"}, arguments...)
			}
			stdout, _, status := r.ssh("", arguments...)
			if len(stdout) != 1<<20+3 || !strings.HasSuffix(stdout, "xend") || status != 0 {
				t.Fatalf("terminal %v: got %d bytes, status %d", terminal, len(stdout), status)
			}
		}
	}
}

func TestTerminal(t *testing.T) {
	r := newRig(t)
	tests := []struct {
		name, command, stdout string
		status                int
	}{
		{"terminal", "test -t 0 && test -t 1 && test -t 2 && echo $TERM", "vt220\r\n", 0},
		{"status", "exit 7", "", 7},
		{"killed", "kill -TERM $$", "", 255},
		{"background process holds the terminal", "trap '' HUP; sleep 30 & echo done; kill -0 $! && echo $! >pid", "done\r\n", 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("TERM", "vt220")
			started := time.Now()
			stdout, _, status := r.ssh("", "-tt", "127.0.0.1", test.command)
			if stdout != test.stdout || status != test.status {
				t.Errorf("got %q, status %d; want %q, status %d", stdout, status, test.stdout, test.status)
			}
			if took := time.Since(started); took > 15*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
	if text, err := os.ReadFile(filepath.Join(r.directory, "pid")); err == nil {
		killProcess(t, string(text))
	}
}

// killProcess ends a process that a session left behind, and checks that it
// was there.
func killProcess(t *testing.T, text string) {
	t.Helper()
	pid, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil || pid <= 1 {
		t.Fatalf("bad process number %q", text)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Errorf("process %d is gone: %v", pid, err)
	}
}

// expect reads from a terminal until the text appears.
type expect struct {
	t    *testing.T
	file *os.File
	seen string
}

func (e *expect) until(text string) {
	e.t.Helper()
	buffer := make([]byte, 4096)
	for !strings.Contains(e.seen, text) {
		count, err := e.file.Read(buffer)
		e.seen += string(buffer[:count])
		if err != nil {
			e.t.Fatalf("terminal ended before %q: %v; seen %q", text, err, e.seen)
		}
	}
	_, e.seen, _ = strings.Cut(e.seen, text)
}

func (e *expect) send(text string) {
	e.t.Helper()
	if _, err := io.WriteString(e.file, text); err != nil {
		e.t.Fatal(err)
	}
}

func TestShellWithResizeAndInterrupt(t *testing.T) {
	r := newRig(t)
	cmd := r.command("ssh", "127.0.0.1")
	cmd.Env = append(os.Environ(), "TERM=vt100")
	file, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 33, Cols: 101})
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	terminal := &expect{t: t, file: file}
	terminal.send("PS1=; case $0 in -*) ;; esac; echo size=$(stty size)=\n")
	terminal.until("size=33 101=")
	if err := pty.Setsize(file, &pty.Winsize{Rows: 44, Cols: 77}); err != nil {
		t.Fatal(err)
	}
	terminal.send("while [ \"$(stty size)\" != '44 77' ]; do sleep 0.05; done; echo re''sized\n")
	terminal.until("resized")
	terminal.send("sh -c 'trap \"echo inter\"\"rupted; exit\" INT; echo rea\"\"dy; while :; do sleep 0.1; done'\n")
	terminal.until("ready")
	terminal.send("\x03")
	terminal.until("interrupted")
	terminal.send("exit 9\n")
	err = cmd.Wait()
	if status := cmd.ProcessState.ExitCode(); status != 9 {
		t.Errorf("status %d (%v), want 9", status, err)
	}
}

func TestHangUp(t *testing.T) {
	r := newRig(t)
	for _, terminal := range []bool{true, false} {
		t.Run(fmt.Sprintf("terminal %v", terminal), func(t *testing.T) {
			script := "echo $$ >pid.new; mv pid.new pid; exec sleep 30"
			arguments := []string{"127.0.0.1", script}
			if terminal {
				arguments = append([]string{"-tt"}, arguments...)
			}
			cmd := r.command("ssh", arguments...)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(r.directory, "pid")
			var text []byte
			eventually(t, "the command to start", func() bool {
				text, _ = os.ReadFile(path)
				return len(text) > 0
			})
			os.Remove(path)
			pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			if terminal {
				eventually(t, "the command to die", func() bool { return syscall.Kill(pid, 0) != nil })
				return
			}
			eventually(t, "the connection to end", func() bool {
				r.server.mu.Lock()
				defer r.server.mu.Unlock()
				return len(r.server.conns) == 0
			})
			killProcess(t, string(text))
		})
	}
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited 10 s for %s", what)
		}
	}
}
