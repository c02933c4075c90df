//go:build unix

package localapi

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/causewayhq/causeway/proto/localv1"
)

// testPath is where a test may listen.
func testPath(t testing.TB) string { return filepath.Join(t.TempDir(), "run", "s.sock") }

func listenTest(t testing.TB, path string) net.Listener {
	t.Helper()
	listener, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	return listener
}

// stillThere is an error if a listener left its socket.
func stillThere(path string) error {
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("the socket is still there: %w", err)
	}
	return nil
}

func TestDialErrors(t *testing.T) {
	dir := t.TempDir()
	stale := filepath.Join(dir, "stale")
	makeStale(t, stale)
	for name, test := range map[string]struct {
		path string
		want Code
	}{
		"no socket": {filepath.Join(dir, "none"), CodeNotRunning},
		"stale":     {stale, CodeNotRunning},
	} {
		_, err := Dial(t.Context(), test.path)
		var got *Error
		if !errors.As(err, &got) || got.Code != test.want || got.Remedy == "" || !strings.Contains(got.Cause, test.path) {
			t.Errorf("%s: %#v", name, err)
		}
	}
	var got *Error
	if err := diagnose("/x", os.ErrPermission); !errors.As(err, &got) || got.Code != CodePermission {
		t.Errorf("permission: %#v", err)
	}
}

// makeStale leaves a socket that nobody serves.
func makeStale(t *testing.T, path string) {
	t.Helper()
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	listener.SetUnlinkOnClose(false)
	listener.Close()
}

func TestListen(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	makeStale(t, path)
	listener, err := Listen(path)
	if err != nil {
		t.Fatalf("stale socket: %v", err)
	}
	if _, err := Listen(path); !errors.Is(err, ErrServed) {
		t.Errorf("served socket: %v", err)
	}
	listener.Close()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("keep"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(file); err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Errorf("regular file: %v", err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(link); err == nil {
		t.Error("symbolic link was replaced")
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "keep" {
		t.Errorf("file after Listen: %q, %v", text, err)
	}
	if _, err := Listen(filepath.Join(dir, strings.Repeat("x", 120))); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("long path: %v", err)
	}
	if _, err := Listen(filepath.Join(file, "s")); err == nil {
		t.Error("directory that cannot be made was taken")
	}
}

func TestIdleConnectionsAreCut(t *testing.T) {
	path := serveWithin(t, time.Second, &fake{}, everybody)
	var idle []net.Conn
	for range 200 {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		idle = append(idle, conn)
	}
	deadline := time.Now().Add(requestTimeout + 5*time.Second)
	for i, conn := range idle {
		if err := conn.SetReadDeadline(deadline); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, conn); err != nil && !isReset(err) {
			t.Fatalf("idle connection %d was not cut: %v", i, err)
		}
	}
	if _, err := dial(t, path).GetStatus(t.Context(), &localv1.GetStatusRequest{}); err != nil {
		t.Errorf("call afterwards: %v", err)
	}
}

func isReset(err error) bool { return strings.Contains(err.Error(), "reset") }

// FuzzServer sends any bytes to a real server; the server has to survive and
// to answer the next client.
func FuzzServer(f *testing.F) {
	path := serveWithin(f, 50*time.Millisecond, &fake{entered: make(chan struct{}, 1<<20)}, everybody)
	f.Add([]byte{})
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add(bytes.Repeat([]byte{0xff}, 4096))
	f.Add(append([]byte("\x03\x01\x01\x25"), "/causeway.local.v1.Local/GetStatus"...))
	f.Add([]byte("\x05\x01\x01\x00\x05\x01\x02\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(requestTimeout * 2)); err != nil {
			t.Fatal(err)
		}
		// The server may have hung up in the middle.
		_, _ = conn.Write(data)
		if err := conn.(*net.UnixConn).CloseWrite(); err != nil && !errors.Is(err, net.ErrClosed) && !strings.Contains(err.Error(), "not connected") {
			t.Logf("close for writing: %v", err)
		}
		if _, err := io.Copy(io.Discard, conn); err != nil && !isReset(err) {
			t.Fatalf("the server keeps a client that has nothing more to say: %v", err)
		}
		client, err := Dial(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		// The patience of this server is short, and a busy machine may use it up;
		// a server that is stuck answers none of the calls.
		for deadline := time.Now().Add(requestTimeout); ; {
			_, err := client.GetStatus(t.Context(), &localv1.GetStatusRequest{})
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
		}
	})
}

func TestCallCarriesCaller(t *testing.T) {
	handler := &fake{agents: 4000}
	path := serve(t, handler, everybody)
	status, err := dial(t, path).GetStatus(t.Context(), &localv1.GetStatusRequest{})
	if err != nil || status.GetUser() != "alice" || len(status.GetAgents()) != 4000 {
		t.Fatalf("GetStatus() = %d agents, %v", len(status.GetAgents()), err)
	}
	handler.mu.Lock()
	defer handler.mu.Unlock()
	if len(handler.callers) != 1 || int(handler.callers[0].UID) != os.Getuid() || int(handler.callers[0].PID) != os.Getpid() {
		t.Errorf("callers = %+v", handler.callers)
	}
	for name, want := range map[string]os.FileMode{path: 0o666, filepath.Dir(path): 0o755} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: mode %v, %v; want %v", name, info.Mode().Perm(), err, want)
		}
	}
}
