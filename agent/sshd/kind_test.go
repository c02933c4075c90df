//go:build unix

package sshd

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/causewayhq/causeway/proto/agentv2"
)

// reportLog is who listens to Opened.
type reportLog struct {
	mu    sync.Mutex
	lines []string
	open  int
}

func (l *reportLog) opened(kind agentv2.Connection_Type, remote net.Addr) func(int32, string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open++
	if host, _, err := net.SplitHostPort(remote.String()); err != nil || host != "127.0.0.1" {
		l.lines = append(l.lines, "from "+remote.String())
	}
	return func(code int32, reason string) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.open--
		l.lines = append(l.lines, fmt.Sprintf("%v %d %s", kind, code, reason))
	}
}

// take waits until all that was opened is closed.
func (l *reportLog) take(t *testing.T) []string {
	t.Helper()
	eventually(t, "the reports", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.open == 0 && len(l.lines) > 0
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := l.lines
	l.lines = nil
	slices.Sort(lines)
	return lines
}

func TestSessionsAreReported(t *testing.T) {
	var log reportLog
	r := newRigWith(t, func(config *Config) { config.Opened = log.opened })
	for _, test := range []struct {
		name      string
		arguments []string
		want      string
	}{
		{"success", []string{"127.0.0.1", "true"}, "SSH 0 "},
		{"status", []string{"127.0.0.1", "exit 7"}, "SSH 7 exited with status 7"},
		{"signal", []string{"127.0.0.1", "kill -TERM $$"}, "SSH 255 ended by signal TERM"},
		{"not started", []string{"127.0.0.1", "#!\n"}, "SSH 229 the session could not be started"},
		{"unknown subsystem", []string{"-s", "127.0.0.1", "x"}, "SSH 1 unknown subsystem"},
		{"sftp", []string{"-s", "127.0.0.1", "sftp"}, "SSH 0 "},
		{"vscode", []string{"-o", "SetEnv=CODER_SSH_SESSION_TYPE=VSCode", "127.0.0.1", "true"}, "VSCODE 0 "},
		{"jetbrains", []string{"-o", "SetEnv=CODER_SSH_SESSION_TYPE=jetbrains", "127.0.0.1", "true"}, "JETBRAINS 0 "},
		{"ssh", []string{"-o", "SetEnv=CODER_SSH_SESSION_TYPE=ssh", "127.0.0.1", "true"}, "SSH 0 "},
		{"another", []string{"-o", "SetEnv=CODER_SSH_SESSION_TYPE=emacs", "127.0.0.1", "true"}, "SSH 0 "},
		{"VS Code by its command", []string{"127.0.0.1", "test -d ~/.vscode-server/bin || true"}, "VSCODE 0 "},
		{"said, not inferred", []string{"-o", "SetEnv=CODER_SSH_SESSION_TYPE=ssh", "127.0.0.1", "true ~/.vscode-server/bin"}, "SSH 0 "},
	} {
		t.Run(test.name, func(t *testing.T) {
			r.ssh("", test.arguments...)
			if got := log.take(t); !slices.Equal(got, []string{test.want}) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
	t.Run("last wins", func(t *testing.T) {
		session, err := r.dial(t).NewSession()
		if err != nil {
			t.Fatal(err)
		}
		for _, value := range []string{"jetbrains", "vscode"} {
			if err := session.Setenv(sessionTypeVariable, value); err != nil {
				t.Fatal(err)
			}
		}
		if err := session.Run("true"); err != nil {
			t.Fatal(err)
		}
		if got := log.take(t); !slices.Equal(got, []string{"VSCODE 0 "}) {
			t.Errorf("got %q", got)
		}
	})
	t.Run("gone", func(t *testing.T) {
		client := r.dial(t)
		session, err := client.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		stdout, _ := session.StdoutPipe()
		if err := session.Start("echo; exec sleep 0.1"); err != nil {
			t.Fatal(err)
		}
		_, _ = stdout.Read(make([]byte, 1))
		client.Close()
		if got := log.take(t); !slices.Equal(got, []string{"SSH 255 the client has gone"}) && !slices.Equal(got, []string{"SSH 0 "}) {
			t.Errorf("got %q", got)
		}
	})
}

// TestEditorsBehindForwards: a connection is counted once for an editor whose
// server side a forward leads to, however many forwards there are, and not at
// all when its sessions say what they are.
func TestEditorsBehindForwards(t *testing.T) {
	var log reportLog
	r := newRigWith(t, func(config *Config) { config.Opened = log.opened })
	lines := map[uint16]string{}
	var mu sync.Mutex
	r.server.processes.find = func(_ context.Context, address netip.AddrPort) string {
		mu.Lock()
		defer mu.Unlock()
		return lines[address.Port()]
	}
	target := func(line string) string {
		address := shouter(t, "tcp", "127.0.0.1:0").Addr().(*net.TCPAddr)
		mu.Lock()
		defer mu.Unlock()
		lines[uint16(address.Port)] = line
		return address.String()
	}
	use := func(client *ssh.Client, addresses ...string) {
		t.Helper()
		for _, address := range addresses {
			conn, err := client.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			conn.Close()
		}
	}
	toolbox, gateway, other := target("java com.jetbrains.toolbox"), target("java -Didea.vendor.name=JetBrains x"), target("python -m http.server")
	code := target("/home/x/.vscode-server/bin/1/node out/server-main.js")
	for _, test := range []struct {
		name    string
		targets []string
		want    []string
	}{
		{"JetBrains", []string{gateway, toolbox, gateway}, []string{"JETBRAINS 0 the client has gone"}},
		{"VS Code", []string{other, code, code}, []string{"VSCODE 0 the client has gone"}},
		{"both", []string{code, gateway}, []string{"JETBRAINS 0 the client has gone", "VSCODE 0 the client has gone"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			client := r.dial(t)
			use(client, test.targets...)
			eventually(t, "the count", func() bool {
				log.mu.Lock()
				defer log.mu.Unlock()
				return log.open == len(test.want)
			})
			client.Close()
			if got := log.take(t); !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
	t.Run("after the command that starts the server", func(t *testing.T) {
		client := r.dial(t)
		session, err := client.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		if err := session.Run("true remote-dev-server"); err != nil {
			t.Fatal(err)
		}
		use(client, gateway)
		eventually(t, "the count", func() bool {
			log.mu.Lock()
			defer log.mu.Unlock()
			return log.open == 1 && len(log.lines) == 1
		})
		client.Close()
		if got := log.take(t); !slices.Equal(got, []string{"JETBRAINS 0 ", "JETBRAINS 0 the client has gone"}) {
			t.Errorf("got %q", got)
		}
	})
	t.Run("counted by its session", func(t *testing.T) {
		client := r.dial(t)
		session, err := client.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		if err := session.Setenv(sessionTypeVariable, "vscode"); err != nil {
			t.Fatal(err)
		}
		if err := session.Run("true"); err != nil {
			t.Fatal(err)
		}
		use(client, code, other)
		client.Close()
		if got := log.take(t); !slices.Equal(got, []string{"VSCODE 0 "}) {
			t.Errorf("got %q", got)
		}
	})
}

// TestProcessBehindPort: the command line of a real program that listens.
func TestProcessBehindPort(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-Didea.vendor.name=JetBrains")
	cmd.Env = append(os.Environ(), listenVariable+"=1")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	address := netip.MustParseAddrPort(strings.TrimSpace(line))
	finder := processes{find: findCommandLine}
	if kind, ok := kindOfCommand(finder.commandLine(t.Context(), address)); !ok || kind != agentv2.Connection_JETBRAINS {
		t.Errorf("got %v, %v of %q", kind, ok, finder.commandLine(t.Context(), address))
	}
	finder.find = func(context.Context, netip.AddrPort) string { t.Error("it was looked for again"); return "" }
	finder.commandLine(t.Context(), address)
}

func TestKindOfCommand(t *testing.T) {
	for line, want := range map[string]agentv2.Connection_Type{
		"": agentv2.Connection_SSH, "vim": agentv2.Connection_SSH, "code-server": agentv2.Connection_SSH,
		"/opt/x/remote-dev-server.sh run": agentv2.Connection_JETBRAINS, "/root/.cursor-server/x": agentv2.Connection_VSCODE,
		`C:\Users\x\.vscode-server\node.exe`: agentv2.Connection_VSCODE,
	} {
		if got, _ := kindOfCommand(line); got != want {
			t.Errorf("%q: %v", line, got)
		}
	}
}
