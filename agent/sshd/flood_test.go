//go:build unix

package sshd

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

// TestFloodOfChannels: the last ones are refused, and the connection goes on.
func TestFloodOfChannels(t *testing.T) {
	client := newRig(t).dial(t)
	var open []ssh.Channel
	for range maxChannels {
		channel, requests, err := client.OpenChannel("session", nil)
		if err != nil {
			t.Fatalf("channel %d: %v", len(open), err)
		}
		go ssh.DiscardRequests(requests)
		open = append(open, channel)
	}
	var refused *ssh.OpenChannelError
	if _, _, err := client.OpenChannel("session", nil); !errors.As(err, &refused) || refused.Reason != ssh.ResourceShortage {
		t.Errorf("one more: %v", err)
	}
	open[0].Close()
	eventually(t, "room", func() bool {
		session, err := client.NewSession()
		if err != nil {
			return false
		}
		text, err := session.Output("echo room")
		return err == nil && string(text) == "room\n"
	})
}

// TestFloodOfForwards: a connection listens on so many ports and no more.
func TestFloodOfForwards(t *testing.T) {
	client := newRig(t).dial(t)
	for index := range maxForwards + 1 {
		payload := ssh.Marshal(forwardTCPMessage{Host: "127.0.0.1"})
		if ok, _, err := client.SendRequest("tcpip-forward", true, payload); ok != (index < maxForwards) || err != nil {
			t.Fatalf("forward %d: %v, %v", index, ok, err)
		}
	}
}

// TestFloodOfRequests: a client that asks and does not listen to the answers is
// not listened to either; others are.
func TestFloodOfRequests(t *testing.T) {
	r := newRig(t)
	client := r.dial(t)
	session, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	for range 20_000 {
		if _, err := session.SendRequest("window-change", false, ssh.Marshal(window{1, 1, 1, 1})); err != nil {
			t.Fatal(err)
		}
		if _, _, err := client.SendRequest("no-such", false, nil); err != nil {
			t.Fatal(err)
		}
	}
	if text, err := session.Output("echo after"); err != nil || string(text) != "after\n" {
		t.Errorf("got %q, %v", text, err)
	}
}

// TestHalfOpenFlood: those who stay silent in their handshake go, the oldest
// first, and keep nobody out.
func TestHalfOpenFlood(t *testing.T) {
	r := newRig(t)
	var silent []net.Conn
	for range maxHandshakes + 10 {
		conn, err := net.Dial("tcp", "127.0.0.1:"+r.port)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		silent = append(silent, conn)
		if _, err := io.ReadFull(conn, make([]byte, 4)); err != nil { // it speaks first
			t.Fatal(err)
		}
	}
	if stdout, stderr, status := r.ssh("", "127.0.0.1", "echo in"); stdout != "in\n" || status != 0 {
		t.Errorf("got %q, %q, status %d", stdout, stderr, status)
	}
	gone := 0
	for index, conn := range silent[:20] {
		if err := conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, conn); err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			gone++
		} else if index < 10 {
			t.Errorf("connection %d is still there", index)
		}
		if index == 11 {
			break // of the eleven that had to go for the others and the client
		}
	}
	if gone != 11 {
		t.Errorf("%d connections went, want 11", gone)
	}
}

// TestTooManyConnections: the one above the limit is closed at once.
func TestTooManyConnections(t *testing.T) {
	server := testServer(t, Config{})
	for range maxConnections {
		server.conns[&end{}] = nil
	}
	ours, theirs := newEnds()
	server.ServeConn(ours)
	if text, err := io.ReadAll(theirs); err != nil || len(text) != 0 {
		t.Errorf("it was answered %q, %v", text, err)
	}
}

// FuzzSession: whatever a client sends ahead of a command, within the limits.
func FuzzSession(f *testing.F) {
	f.Add("env", ssh.Marshal(struct{ Name, Value string }{"A", "b"}))
	f.Add("pty-req", ssh.Marshal(ptyMessage{Term: "xterm", Columns: 80, Rows: 24, Modes: "\x35\x00\x00\x00\x00\x00"}))
	f.Add("signal", ssh.Marshal(struct{ Name string }{"TERM"}))
	f.Add("window-change", ssh.Marshal(window{1, 2, 3, 4}))
	f.Add("exec", ssh.Marshal(struct{ Value string }{"scp -t ."}))
	f.Add("subsystem", []byte("\x00\x00\x00\x04sftp"))
	f.Fuzz(func(t *testing.T, kind string, payload []byte) {
		if kind == "auth-agent-req@openssh.com" || kind == "x11-req" {
			return // they open sockets; FuzzX11Request has the second one's payload
		}
		s := &session{done: make(chan struct{})}
		close(s.done)
		for range 3 {
			s.handle(&ssh.Request{Type: kind, Payload: payload})
		}
		if len(s.variables) > maxVariables || s.variableBytes > maxVariableBytes {
			t.Errorf("%d variables with %d bytes", len(s.variables), s.variableBytes)
		}
		s.kind("")
		for _, variable := range s.environment(nil) {
			if name, _, found := strings.Cut(variable, "="); !found || name == "" || magic(name) || strings.Contains(variable, "\x00") {
				t.Errorf("the command sees %q", variable)
			}
		}
	})
}

// FuzzForwards: payloads of forwards that are refused before anything is opened.
func FuzzForwards(f *testing.F) {
	f.Add(ssh.Marshal(forwardTCPMessage{Host: "localhost", Port: 70000}))
	f.Add(ssh.Marshal(forwardUnixMessage{Path: ""}))
	f.Fuzz(func(t *testing.T, payload []byte) {
		c := &connection{server: &Server{config: Config{BlockReverseForward: true}}, forwards: map[string]*remoteForward{}}
		if _, ok := c.forwardTCP(payload); ok || c.forwardUnix(payload) || c.cancelTCP(payload) || c.cancelUnix(payload) {
			t.Errorf("%q was accepted", payload)
		}
	})
}

// duplex is one end of a connection of two pipes.
type duplex struct {
	io.Reader
	io.WriteCloser
}

// FuzzSFTPPath: each question about whatever path gets an answer, and the server
// goes on. Nothing is changed: the server is read-only here.
func FuzzSFTPPath(f *testing.F) {
	for _, path := range []string{"", ".", "..", "/", "../../../../etc/passwd", "a\x00b", "~", "//", "\xff", strings.Repeat("a/", 3000)} {
		f.Add(path)
	}
	// Of version 3: INIT, then STAT, LSTAT, OPENDIR, READLINK, REALPATH.
	kinds := []byte{17, 7, 11, 19, 16}
	f.Fuzz(func(t *testing.T, path string) {
		if len(path) > 64<<10 {
			return
		}
		packet := func(kind byte, body []byte) []byte {
			return append(binary.BigEndian.AppendUint32(nil, uint32(len(body)+1)), append([]byte{kind}, body...)...)
		}
		theirs, input := io.Pipe()
		output, ours := io.Pipe()
		server, err := sftp.NewServer(duplex{theirs, ours}, sftp.WithServerWorkingDirectory(t.TempDir()), sftp.ReadOnly())
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error, 1)
		go func() { served <- server.Serve() }()
		ask := func(request []byte) {
			if _, err := input.Write(request); err != nil {
				t.Fatal(err)
			}
			length := make([]byte, 4)
			if _, err := io.ReadFull(output, length); err != nil {
				t.Fatalf("no answer for path %.100q: %v", path, err)
			}
			if _, err := io.CopyN(io.Discard, output, int64(binary.BigEndian.Uint32(length))); err != nil {
				t.Fatal(err)
			}
		}
		ask(packet(1, []byte{0, 0, 0, 3}))
		for id, kind := range kinds {
			body := binary.BigEndian.AppendUint32(nil, uint32(id))
			body = binary.BigEndian.AppendUint32(body, uint32(len(path)))
			ask(packet(kind, append(body, path...)))
		}
		input.Close()
		<-served // the error says how its input ended
		server.Close()
	})
}
