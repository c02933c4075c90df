//go:build unix

package sshd

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// shouter answers each connection, once its input has ended, with that input
// in capitals: which needs the half-closed state to survive the forward.
func shouter(t *testing.T, network, address string) net.Listener {
	t.Helper()
	listener, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	work.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			work.Go(func() {
				defer conn.Close()
				text, _ := io.ReadAll(conn)
				_, _ = io.WriteString(conn, strings.ToUpper(string(text)))
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		work.Wait()
	})
	return listener
}

// shout is the other end; an empty answer says that the connection failed.
func shout(network, address, text string) string {
	conn, err := net.DialTimeout(network, address, time.Second)
	if err != nil {
		return ""
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return ""
	}
	_, _ = io.WriteString(conn, text)
	_ = conn.(interface{ CloseWrite() error }).CloseWrite()
	answer, _ := io.ReadAll(conn)
	return string(answer)
}

func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	return port
}

// background runs the real client without a command until the test ends.
func (r *rig) background(t *testing.T, arguments ...string) {
	t.Helper()
	cmd := r.command("ssh", append(arguments, "-o", "ExitOnForwardFailure=yes", "-N", "127.0.0.1")...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
}

func TestForwards(t *testing.T) {
	r := newRig(t)
	target := shouter(t, "tcp", "127.0.0.1:0").Addr().String()
	socket := filepath.Join(t.TempDir(), "target")
	shouter(t, "unix", socket)

	// A dead program's socket does not stand in the way of -R.
	stale := filepath.Join(t.TempDir(), "stale")
	leftover, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	leftover.SetUnlinkOnClose(false)
	leftover.Close()

	local, remote, localUnix := freePort(t), freePort(t), filepath.Join(t.TempDir(), "local")
	for _, test := range []struct{ name, flag, spec, network, address string }{
		{"local", "-L", local + ":" + target, "tcp", "127.0.0.1:" + local},
		{"local to a socket", "-L", localUnix + ":" + socket, "unix", localUnix},
		{"remote", "-R", remote + ":" + target, "tcp", "127.0.0.1:" + remote},
		{"remote from a socket", "-R", stale + ":" + target, "unix", stale},
	} {
		t.Run(test.name, func(t *testing.T) {
			r.background(t, test.flag, test.spec)
			text := strings.Repeat("causeway ", 100_000)
			answer := ""
			eventually(t, "the forward to answer", func() bool {
				answer = shout(test.network, test.address, text)
				return answer != ""
			})
			if answer != strings.ToUpper(text) {
				t.Errorf("got %d bytes of %d", len(answer), len(text))
			}
		})
	}
}

func TestRemoteForwardWithAnyPort(t *testing.T) {
	r := newRig(t)
	target := shouter(t, "tcp", "127.0.0.1:0").Addr().String()
	r.options = append([]string{"-o", "LogLevel=INFO"}, r.options...)
	cmd := r.command("ssh", "-N", "-R", "0:"+target, "127.0.0.1")
	stderr, err := cmd.StderrPipe()
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
	port := 0
	for lines := bufio.NewScanner(stderr); port == 0 && lines.Scan(); {
		_, _ = fmt.Sscanf(lines.Text(), "Allocated port %d for", &port)
	}
	for _, host := range []string{"127.0.0.1", "[::1]"} {
		if answer := shout("tcp", fmt.Sprintf("%s:%d", host, port), "hello"); answer != "HELLO" {
			t.Errorf("port %d of %s answered %q", port, host, answer)
		}
	}
}

func TestRefusedForwards(t *testing.T) {
	r := newRig(t)
	taken := shouter(t, "tcp", "127.0.0.1:0").Addr().String()
	_, port, _ := net.SplitHostPort(taken)
	served := filepath.Join(t.TempDir(), "served")
	shouter(t, "unix", served)
	for name, arguments := range map[string][]string{
		"remote port in use":        {"-R", port + ":127.0.0.1:1"},
		"remote socket in use":      {"-R", served + ":127.0.0.1:1"},
		"nobody at the destination": {"-W", "127.0.0.1:" + freePort(t)},
	} {
		t.Run(name, func(t *testing.T) {
			stdout, _, status := r.ssh("", append([]string{"-o", "ExitOnForwardFailure=yes"}, append(arguments, "127.0.0.1")...)...)
			if status != 255 || stdout != "" {
				t.Errorf("got %q, status %d, want a failure", stdout, status)
			}
		})
	}
	if answer := shout("unix", served, "still"); answer != "STILL" {
		t.Errorf("the socket in use answers %q", answer)
	}
}

func TestForwardThroughStandardStreams(t *testing.T) {
	r := newRig(t)
	target := shouter(t, "tcp", "127.0.0.1:0").Addr().String()
	stdout, stderr, status := r.ssh("jump", "-W", target, "127.0.0.1")
	if stdout != "JUMP" || status != 0 {
		t.Errorf("got %q, %q, status %d", stdout, stderr, status)
	}
}

func TestAgentForwarding(t *testing.T) {
	program, err := exec.LookPath("ssh-agent")
	if err != nil {
		t.Skipf("ssh-agent is not installed: %v", err)
	}
	r := newRig(t)
	socket := filepath.Join(t.TempDir(), "agent")
	agent := exec.Command(program, "-D", "-a", socket)
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = agent.Process.Kill()
		_ = agent.Wait()
	}()
	eventually(t, "ssh-agent", func() bool {
		_, err := os.Stat(socket)
		return err == nil
	})
	t.Setenv("SSH_AUTH_SOCK", socket)
	stdout, stderr, _ := r.ssh("", "-A", "127.0.0.1", "ssh-add -l; echo $SSH_AUTH_SOCK")
	answer, path, _ := strings.Cut(stdout, "\n")
	if answer != "The agent has no identities." {
		t.Errorf("ssh-add through the forward says %q, %q", stdout, stderr)
	}
	path = strings.TrimSpace(path)
	if !strings.Contains(path, "causeway-ssh-agent-") {
		t.Fatalf("the socket is %q", path)
	}
	eventually(t, "the socket to be removed", func() bool {
		_, err := os.Stat(filepath.Dir(path))
		return os.IsNotExist(err)
	})
}
