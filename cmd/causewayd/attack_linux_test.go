package main

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/service"
)

func init() {
	helpers["hold-connections"] = holdMain
	helpers["squat"] = squatMain
}

// holdMain opens many connections, sends what it is given in hex on each, and
// keeps them until its standard input ends. It says how many it could open; of an
// answer to what it sent it reads one byte, to know that there is one.
func holdMain() {
	var count int
	_, _ = fmt.Sscan(os.Args[2], &count)
	send, _ := hex.DecodeString(os.Args[3])
	var held []net.Conn
	for range count {
		conn, err := net.Dial("unix", os.Args[1])
		if err != nil {
			continue
		}
		_, _ = conn.Write(send)
		if len(send) > 0 {
			if _, err := conn.Read(make([]byte, 1)); err != nil {
				continue
			}
		}
		held = append(held, conn)
	}
	fmt.Println(len(held))
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

// squatMain serves the socket as whoever runs it, and prints all that it gets.
func squatMain() {
	listener, err := net.Listen("unix", os.Args[1])
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	_ = os.Chmod(os.Args[1], 0o666)
	fmt.Println("ready")
	for {
		conn, err := listener.Accept()
		if err != nil {
			os.Exit(1)
		}
		go func() { _, _ = io.Copy(os.Stdout, conn) }()
	}
}

// holding has a user hold connections until the test ends.
func (m *machine) holding(t *testing.T, uid uint32, count int, send string) {
	t.Helper()
	command := m.command(t, uid, "hold-connections", m.socket, fmt.Sprint(count), hex.EncodeToString([]byte(send)))
	input, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		input.Close()
		_ = command.Wait()
	})
	var opened int
	if _, err := fmt.Fscan(output, &opened); err != nil || opened == 0 {
		t.Fatalf("uid %d holds %d connections, %v", uid, opened, err)
	}
}

// answersSoon says that users get an answer within the second that is promised;
// the time for a program to start on a busy machine is measured beside it.
func (m *machine) answersSoon(t *testing.T, uids ...uint32) {
	t.Helper()
	for _, uid := range uids {
		began := time.Now()
		if _, err := m.command(t, uid, "local-ask", filepath.Join(m.dir, "no-socket"), "GetStatus").CombinedOutput(); err != nil {
			t.Fatal(err)
		}
		start := time.Since(began)
		began = time.Now()
		m.ok(t, uid, "GetStatus", "{}", nil)
		if took := time.Since(began) - start; took > time.Second {
			t.Errorf("uid %d waited %v", uid, took)
		}
	}
}

// TestManyIdleConnections: a user with a thousand, and then many users with all
// that they can get, keep neither root nor the owner out.
func TestManyIdleConnections(t *testing.T) {
	m := newMachine(t)
	m.start(t)
	m.ok(t, root, "Login", signIn(alicesToken, alice, "work"), nil)
	m.holding(t, carol, 1000, "")
	m.answersSoon(t, root, alice, bob)
	var all sync.WaitGroup
	for i := range uint32(10) {
		all.Go(func() { m.holding(t, 21000+i, 100, "") })
	}
	all.Wait()
	m.answersSoon(t, root, alice)
}

// TestSlowReaders ask for what takes room and never read it.
func TestSlowReaders(t *testing.T) {
	m := newMachine(t)
	m.start(t)
	m.ok(t, root, "Login", signIn(alicesToken, alice, "work"), nil)
	const method = "/causeway.local.v1.Local/WatchStatus"
	watch := "\x03\x01\x01" + string(rune(len(method))) + method + "\x05\x01\x02\x00" // dRPC: invoke, and an empty message
	m.holding(t, carol, 64, watch)
	m.holding(t, alice, 32, watch)
	m.answersSoon(t, root, alice, bob)
}

// TestMalformedMessages: whatever comes in, the daemon goes on and the next call
// is answered.
func TestMalformedMessages(t *testing.T) {
	m := newMachine(t)
	m.start(t)
	noise := make([]byte, 64<<10)
	_, _ = rand.Read(noise)
	for name, data := range map[string][]byte{
		"nothing":          {},
		"HTTP":             []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
		"noise":            noise,
		"endless length":   bytes.Repeat([]byte{0xff}, 1<<10),
		"oversize message": append([]byte("\x05\x01\x02\xff\xff\xff\x7f"), make([]byte, 1<<20)...),
		"unknown call":     []byte("\x03\x01\x01\x08/no/such\x05\x01\x02\x00"),
		"half a call":      []byte("\x03\x01\x01\x24/causeway.local"),
	} {
		conn, err := net.Dial("unix", m.socket)
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write(data) // it may hang up in the middle
		_ = conn.(*net.UnixConn).CloseWrite()
		if _, err := io.Copy(io.Discard, conn); err != nil && errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: the daemon keeps the connection", name)
		}
		conn.Close()
		m.ok(t, root, "GetStatus", "{}", nil)
	}
	// A request in good order that is far too long.
	answer := m.as(t, root, "QueryDNS", fmt.Sprintf(`{"message":%q}`, strings.Repeat("AAAA", 100<<10/3)))
	if answer.Code == 0 {
		t.Error("a request of 130 KiB was taken")
	}
	m.ok(t, root, "GetStatus", "{}", nil)
}

// TestSquattedSocket: a socket that somebody else serves gets neither the daemon
// nor a client's token.
func TestSquattedSocket(t *testing.T) {
	m := newMachine(t)
	if err := os.Mkdir(filepath.Dir(m.socket), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(m.socket), 0o777); err != nil {
		t.Fatal(err)
	}
	squatter := m.command(t, carol, "squat", m.socket)
	heard := &safeBuffer{}
	squatter.Stdout = heard
	if err := squatter.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); !strings.Contains(heard.String(), "ready"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the squatter is not there: %s", heard)
		}
	}
	if code, output := m.run(t); code != int(service.FailureSocket) || !strings.Contains(output, "remedy: ") {
		t.Errorf("the daemon: exit code %d\n%s", code, output)
	}
	answer := m.as(t, alice, "Login", signIn(alicesToken, alice, "work"))
	if answer.Code != localapi.CodePermission || !strings.Contains(answer.Cause, "served by uid 20003") {
		t.Errorf("alice's client: %+v", answer)
	}
	_ = squatter.Process.Kill()
	_ = squatter.Wait()
	if got := strings.TrimSpace(heard.String()); got != "ready" {
		t.Errorf("the squatter heard %q", got)
	}
	// A socket that nobody serves any more is no obstacle.
	m.start(t)
}

// TestPlantedLinks: what stands in place of the daemon's files is neither read
// nor written, and what a link leads to stays as it was.
func TestPlantedLinks(t *testing.T) {
	m := newMachine(t)
	precious := filepath.Join(m.dir, "precious")
	for _, name := range []string{"service.json", "settings.json", "lock"} {
		if err := os.WriteFile(precious, []byte(`{"version":1}`), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(m.state, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(precious, filepath.Join(m.state, name)); err != nil {
			t.Fatal(err)
		}
		if code, output := m.run(t); code != int(service.FailureState) || !strings.Contains(output, name) {
			t.Errorf("%s: exit code %d\n%s", name, code, output)
		}
		if data, err := os.ReadFile(precious); err != nil || string(data) != `{"version":1}` {
			t.Errorf("%s: what it leads to is now %q, %v", name, data, err)
		}
		if err := os.RemoveAll(m.state); err != nil {
			t.Fatal(err)
		}
	}
	// The directory itself: a link, open to others, or somebody else's.
	for name, plant := range map[string]func() error{
		"link": func() error { return os.Symlink(m.bin, m.state) },
		"open": func() error { return errors.Join(os.Mkdir(m.state, 0o700), os.Chmod(m.state, 0o770)) },
		"of another's": func() error {
			return errors.Join(os.Mkdir(m.state, 0o700), os.Chown(m.state, carol, carol))
		},
	} {
		if err := plant(); err != nil {
			t.Fatal(err)
		}
		if code, output := m.run(t); code != int(service.FailureState) || !strings.Contains(output, "remedy: ") {
			t.Errorf("state directory %s: exit code %d\n%s", name, code, output)
		}
		if err := os.RemoveAll(m.state); err != nil {
			t.Fatal(err)
		}
	}
}

// TestConfigOfOthers: a settings file that somebody else could have written says
// nothing to root's daemon.
func TestConfigOfOthers(t *testing.T) {
	m := newMachine(t)
	path := filepath.Join(m.dir, "causeway.yaml")
	for name, test := range map[string]struct {
		damage func() error
		remedy string
	}{
		"others may write it": {func() error { return os.Chmod(path, 0o666) }, "chmod go-w"},
		"group may write it":  {func() error { return os.Chmod(path, 0o664) }, "chmod go-w"},
		"it is another's":     {func() error { return os.Chown(path, carol, carol) }, "chown root"},
	} {
		_ = os.Remove(path)
		if err := os.WriteFile(path, []byte("header-command: /bin/false\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := test.damage(); err != nil {
			t.Fatal(err)
		}
		if code, output := m.run(t, "--config", path); code != int(service.FailureConfig) || !strings.Contains(output, test.remedy) {
			t.Errorf("%s: exit code %d\n%s", name, code, output)
		}
	}
}
