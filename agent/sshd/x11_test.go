//go:build unix

package sshd

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/causewayhq/causeway/agent/sshd/xauth"
)

const testCookie = "00112233445566778899aabbccddeeff"

// newX11Rig keeps cookies in a file of the test's own.
func newX11Rig(t *testing.T) (r *rig, authority string) {
	t.Helper()
	authority = filepath.Join(t.TempDir(), "authority")
	return newRig(t, "XAUTHORITY="+authority), authority
}

// x11Session asks for a display and tells its name.
func x11Session(t *testing.T, client *ssh.Client, single bool) (*ssh.Session, string) {
	t.Helper()
	session, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	ok, err := session.SendRequest("x11-req", true, ssh.Marshal(x11Message{Single: single, Protocol: xauth.MagicCookie, Cookie: testCookie, Screen: 3}))
	if err != nil || !ok {
		t.Fatalf("x11-req: %v, %v", ok, err)
	}
	stdout, _ := session.StdoutPipe()
	stdin, _ := session.StdinPipe()
	t.Cleanup(func() { stdin.Close() })
	if err := session.Start("echo $DISPLAY; exec cat >/dev/null"); err != nil {
		t.Fatal(err)
	}
	var line []byte
	for one := make([]byte, 1); !bytes.HasSuffix(line, []byte("\n")); line = append(line, one...) {
		if _, err := io.ReadFull(stdout, one); err != nil {
			t.Fatal(err)
		}
	}
	return session, strings.TrimSpace(string(line))
}

func displayNumber(t *testing.T, name string) int {
	t.Helper()
	number, screen := 0, 0
	if _, err := fmt.Sscanf(name, "localhost:%d.%d", &number, &screen); err != nil || screen != 3 {
		t.Fatalf("DISPLAY=%q", name)
	}
	return number
}

func dialDisplay(number int) (net.Conn, error) {
	return net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", displayBase+number))
}

// echoX11 is an X server that sends back what it gets.
func echoX11(client *ssh.Client) {
	channels := client.HandleChannelOpen("x11")
	go func() {
		for offered := range channels {
			channel, requests, err := offered.Accept()
			if err != nil {
				continue
			}
			go ssh.DiscardRequests(requests)
			go func() {
				_, _ = io.Copy(channel, channel)
				channel.Close()
			}()
		}
	}()
}

func echoes(conn net.Conn) bool {
	_, _ = io.WriteString(conn, "ping")
	answer := make([]byte, 4)
	_, err := io.ReadFull(conn, answer)
	return err == nil && string(answer) == "ping"
}

func authorityEntries(t *testing.T, path string) []xauth.Entry {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := xauth.Parse(content)
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

func TestX11Display(t *testing.T) {
	r, authority := newX11Rig(t)
	client := r.dial(t)
	echoX11(client)
	session, name := x11Session(t, client, false)
	number := displayNumber(t, name)
	entries := authorityEntries(t, authority)
	host, _ := os.Hostname()
	if len(entries) != 1 || entries[0].Family != xauth.FamilyLocal || entries[0].Address != host ||
		entries[0].Number != fmt.Sprint(number) || entries[0].Name != xauth.MagicCookie || hex.EncodeToString(entries[0].Data) != testCookie {
		t.Errorf("cookies: %v", entries)
	}
	for range 2 {
		conn, err := dialDisplay(number)
		if err != nil {
			t.Fatal(err)
		}
		if !echoes(conn) {
			t.Error("nothing comes back through the display")
		}
		conn.Close()
	}
	if ok, err := session.SendRequest("x11-req", true, nil); ok || err != nil {
		t.Errorf("a second display: %v, %v", ok, err)
	}
	session.Close()
	eventually(t, "the display to be closed", func() bool {
		conn, err := dialDisplay(number)
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	eventually(t, "the cookie to go", func() bool { return len(authorityEntries(t, authority)) == 0 })
}

func TestX11SingleConnection(t *testing.T) {
	r, _ := newX11Rig(t)
	client := r.dial(t)
	echoX11(client)
	_, name := x11Session(t, client, true)
	number := displayNumber(t, name)
	conn, err := dialDisplay(number)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if !echoes(conn) {
		t.Error("nothing comes back through the display")
	}
	if second, err := dialDisplay(number); err == nil {
		second.Close()
		t.Error("a second connection was taken")
	}
}

// TestX11Eviction: of 200 displays as many live as there are ports; the others
// have taken the ports of those that were used least.
func TestX11Eviction(t *testing.T) {
	r, authority := newX11Rig(t)
	client := r.dial(t)
	echoX11(client)
	var numbers []int
	busy := 0
	for index := range 200 {
		_, name := x11Session(t, client, false)
		number := displayNumber(t, name)
		if number < firstDisplay || number > lastDisplay {
			t.Fatalf("display %d has number %d", index, number)
		}
		numbers = append(numbers, number)
		switch index {
		case 0: // stays open
			conn, err := dialDisplay(number)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if !echoes(conn) {
				t.Fatal("the first display does not work")
			}
			defer func() {
				if !echoes(conn) {
					t.Error("a display with an open connection was evicted")
				}
			}()
		case 100: // the second is used, and its connection ends
			conn, err := dialDisplay(numbers[1])
			if err != nil || !echoes(conn) {
				t.Fatal("the second display does not work")
			}
			conn.Close()
			eventually(t, "the connection to be forgotten", func() bool {
				r.server.displays.mu.Lock()
				defer r.server.displays.mu.Unlock()
				busy = 0
				for _, each := range r.server.displays.open {
					busy += len(each.conns)
				}
				return busy == 1
			})
		}
	}
	alive := slices.Clone(numbers)
	slices.Sort(alive)
	alive = slices.Compact(alive)
	evicted := len(numbers) - len(alive)
	if evicted < 200-(lastDisplay-firstDisplay+1) || evicted > 60 {
		t.Fatalf("%d displays of 200 live", len(alive))
	}
	// The first two were in use: the next ones went, in their order.
	if got, want := numbers[200-evicted:], numbers[2:2+evicted]; !slices.Equal(got, want) {
		t.Errorf("the last displays got the numbers %v, want those of %v", got, want)
	}
	if entries := authorityEntries(t, authority); len(entries) != len(alive) {
		t.Errorf("%d cookies for %d displays", len(entries), len(alive))
	}
	for _, number := range alive[1:] {
		conn, err := dialDisplay(number)
		if err != nil || !echoes(conn) {
			t.Fatalf("display %d does not work: %v", number, err)
		}
		conn.Close()
	}
}

// TestX11AllTaken: ten are tried, and no more.
func TestX11AllTaken(t *testing.T) {
	var all displays
	taken, err := all.take()
	if err != nil {
		t.Fatal(err)
	}
	for number := firstDisplay; number <= lastDisplay; number++ {
		if number == taken.number {
			continue
		}
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", displayBase+number))
		if err == nil {
			defer listener.Close()
		}
	}
	next, err := all.take()
	if err != nil || next.number != taken.number {
		t.Fatalf("the one that there is was not evicted: %v", err)
	}
	next.Close()
	thief, err := net.Listen("tcp", next.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer thief.Close()
	if _, err := all.take(); err == nil || !strings.Contains(err.Error(), "6010 to 6200") {
		t.Errorf("with every port in use: %v", err)
	}
}

// TestX11LockedAuthority: the session goes on without a display.
func TestX11LockedAuthority(t *testing.T) {
	r, authority := newX11Rig(t)
	for _, suffix := range []string{"-c", "-l"} {
		if err := os.WriteFile(authority+suffix, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	session, err := r.dial(t).NewSession()
	if err != nil {
		t.Fatal(err)
	}
	ok, err := session.SendRequest("x11-req", true, ssh.Marshal(x11Message{Protocol: xauth.MagicCookie, Cookie: testCookie}))
	if ok || err != nil {
		t.Errorf("x11-req: %v, %v", ok, err)
	}
	if text, err := session.Output("echo [$DISPLAY]"); err != nil || string(text) != "["+os.Getenv("DISPLAY")+"]\n" {
		t.Errorf("got %q, %v", text, err)
	}
	if len(r.server.displays.open) != 0 {
		t.Error("the display stays open")
	}
}

// TestX11RealClient: OpenSSH brings a real X server, and a real client finds it,
// with the cookie that the client made up and checks.
func TestX11RealClient(t *testing.T) {
	for _, program := range []string{"Xvfb", "xdpyinfo", "xauth"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed: %v", program, err)
		}
	}
	own := filepath.Join(t.TempDir(), "own")
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	server := exec.Command("Xvfb", "-displayfd", "3", "-nolisten", "tcp", "-auth", own, "-screen", "0", "321x123x24")
	server.ExtraFiles = []*os.File{write}
	cookie, _ := hex.DecodeString(testCookie)
	host, _ := os.Hostname()
	// The server takes every cookie of its file, whatever the display's number.
	if err := xauth.File(own).Add(t.Context(), xauth.Entry{Family: xauth.FamilyLocal, Address: host, Number: "0", Name: xauth.MagicCookie, Data: cookie}); err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	write.Close()
	defer func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	}()
	number := ""
	if _, err := fmt.Fscan(read, &number); err != nil {
		t.Fatal(err)
	}
	if err := xauth.File(own).Add(t.Context(), xauth.Entry{Family: xauth.FamilyLocal, Address: host, Number: number, Name: xauth.MagicCookie, Data: cookie}); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DISPLAY", ":"+number)
	r, authority := newX11Rig(t)
	t.Setenv("XAUTHORITY", own) // the client's; the session's is set by the rig
	for _, flag := range []string{"-X", "-Y"} {
		stdout, stderr, status := r.ssh("", flag, "127.0.0.1", "echo $DISPLAY $XAUTHORITY; xdpyinfo | grep dimensions")
		if status != 0 || !strings.HasPrefix(stdout, "localhost:1") || !strings.Contains(stdout, authority) || !strings.Contains(stdout, "321x123 pixels") {
			t.Errorf("%s: %q, %q, status %d", flag, stdout, stderr, status)
		}
	}
}

func FuzzX11Request(f *testing.F) {
	f.Add(ssh.Marshal(x11Message{Protocol: xauth.MagicCookie, Cookie: testCookie}))
	f.Fuzz(func(t *testing.T, payload []byte) {
		if want, cookie, ok := parseX11(payload); ok && (len(cookie) == 0 || len(cookie) > maxCookie || len(want.Protocol) > maxCookieName) {
			t.Errorf("%q was taken", payload)
		}
	})
}
