//go:build unix

package sshd

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// dial is a client that can send what OpenSSH's would not.
func (r *rig) dial(t *testing.T) *ssh.Client {
	t.Helper()
	client, err := ssh.Dial("tcp", "127.0.0.1:"+r.port, &ssh.ClientConfig{
		User: "x", HostKeyCallback: ssh.InsecureIgnoreHostKey(), Timeout: 10 * time.Second,
		Auth: []ssh.AuthMethod{ssh.Password("anything")},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

func TestMalformedRequests(t *testing.T) {
	client := newRig(t).dial(t)
	session, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	for _, kind := range []string{"pty-req", "env", "exec", "subsystem", "signal", "window-change", "x11-req", "no-such"} {
		for _, payload := range []string{"", "\x00", "\xff\xff\xff\xff", "\x00\x00\x00\x09short"} {
			if accepted, err := session.SendRequest(kind, true, []byte(payload)); accepted || err != nil {
				t.Errorf("%s with %q: %v, %v", kind, payload, accepted, err)
			}
		}
	}
	for _, variable := range [][2]string{{"", "x"}, {"A=B", "x"}, {"A\x00", "x"}, {"A", "x\x00"}} {
		if err := session.Setenv(variable[0], variable[1]); err == nil {
			t.Errorf("variable %.10q was taken", variable)
		}
	}
	for index := range maxVariables + 1 {
		err := session.Setenv(fmt.Sprintf("V%d", index), "x")
		if (err == nil) != (index < maxVariables) {
			t.Fatalf("variable %d: %v", index, err)
		}
	}
	if text, err := session.Output("echo $V0 $V1023 $V1024"); err != nil || string(text) != "x x\n" {
		t.Errorf("the session after all that: %q, %v", text, err)
	}
	if session, err = client.NewSession(); err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	for index := range 6 { // of a fifth of the limit each, and its name
		if err := session.Setenv("BIG", strings.Repeat("x", maxVariableBytes/5)); (err == nil) != (index < 4) {
			t.Errorf("large variable %d: %v", index, err)
		}
	}
	for _, kind := range []string{"tcpip-forward", "cancel-tcpip-forward", "streamlocal-forward@openssh.com", "cancel-streamlocal-forward@openssh.com", "keepalive@openssh.com"} {
		for _, payload := range []string{"", "\xff\xff\xff\xff", "\x00\x00\x00\x00\x00\x01\x00\x00"} {
			if accepted, _, err := client.SendRequest(kind, true, []byte(payload)); accepted || err != nil {
				t.Errorf("%s with %q: %v, %v", kind, payload, accepted, err)
			}
		}
	}
	for _, kind := range []string{"direct-tcpip", "direct-streamlocal@openssh.com", "x11", "no-such"} {
		_, _, err := client.OpenChannel(kind, []byte("\x00\x00\x00\x01"))
		var refused *ssh.OpenChannelError
		if !errors.As(err, &refused) {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

func TestSignals(t *testing.T) {
	client := newRig(t).dial(t)
	for name, want := range map[ssh.Signal]string{ssh.SIGTERM: "TERM", ssh.SIGKILL: "KILL", ssh.SIGUSR1: "USR1"} {
		session, err := client.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		stdout, _ := session.StdoutPipe()
		if err := session.Start("echo ready; sleep 30"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(stdout, make([]byte, 6)); err != nil {
			t.Fatal(err)
		}
		if err := session.Signal(name); err != nil {
			t.Fatal(err)
		}
		var exit *ssh.ExitError
		if err := session.Wait(); !errors.As(err, &exit) || exit.Signal() != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	session, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if text, err := session.Output("trap 'echo caught; exit 4' USR2; kill -USR2 $$"); string(text) != "caught\n" || err == nil {
		t.Errorf("got %q, %v", text, err)
	}
	session, _ = client.NewSession()
	var exit *ssh.ExitError
	if err := session.Run("kill -BUS $$"); !errors.As(err, &exit) || exit.Signal() != "SIG@openssh.com" {
		t.Errorf("a signal without a name: %v", err)
	}
}

// TestClientThatNeverReads holds a window full of output; the server must end
// all the same.
func TestClientThatNeverReads(t *testing.T) {
	r := newRig(t)
	client := r.dial(t)
	for _, terminal := range []bool{false, true} {
		channel, requests, err := client.OpenChannel("session", nil)
		if err != nil {
			t.Fatal(err)
		}
		go ssh.DiscardRequests(requests)
		if terminal {
			payload := ssh.Marshal(ptyMessage{Term: "xterm", Columns: 1 << 31, Rows: 0, Modes: "\x01"})
			if ok, err := channel.SendRequest("pty-req", true, payload); !ok || err != nil {
				t.Fatalf("terminal: %v, %v", ok, err)
			}
		}
		if ok, err := channel.SendRequest("exec", true, ssh.Marshal(struct{ Value string }{"echo $$ >>pids; exec yes"})); !ok || err != nil {
			t.Fatalf("exec: %v, %v", ok, err)
		}
	}
	eventually(t, "both commands to run", func() bool {
		text, _ := os.ReadFile(filepath.Join(r.directory, "pids"))
		return strings.Count(string(text), "\n") == 2
	})
	client.Close()
}

func TestHalfOpenConnection(t *testing.T) {
	r := newRig(t)
	conn, err := net.Dial("tcp", "127.0.0.1:"+r.port)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Read(make([]byte, 4)); err != nil { // it speaks first, and waits
		t.Fatal(err)
	}
	for _, garbage := range []string{"SSH-2.0-x\r\n\xff\xff\xff\xff\xff\xff"} {
		other, err := net.Dial("tcp", "127.0.0.1:"+r.port)
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		_, _ = io.WriteString(other, garbage)
		other.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.Copy(io.Discard, other); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the server keeps a connection that sent %q", garbage)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("a server without a host key was made")
	}
}
