package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// askPorts is what a client reads.
func (s *testServer) askPorts() []Port {
	s.t.Helper()
	answer := s.ask("GET", "/api/v0/listening-ports", "")
	var got struct {
		Ports []Port `json:"ports"`
	}
	if err := json.Unmarshal(answer.Body.Bytes(), &got); err != nil || answer.Code != 200 {
		s.t.Fatalf("%d %s: %v", answer.Code, answer.Body, err)
	}
	return got.Ports
}

// listens is a program with a listener, until it is told to end.
func listens(t *testing.T, address string) (port uint16, end func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), listenVariable+"="+address)
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end = sync.OnceFunc(func() {
		input.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(end)
	if _, err := fmt.Fscan(output, &port); err != nil {
		t.Fatal(err)
	}
	return port, end
}

// TestListenersAreFound asks the real system for those of another program, and for
// one of this process, which stands for the agent.
func TestListenersAreFound(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0", ":0"} {
		own, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer own.Close()
		port, end := listens(t, address)
		s := newServer(t)
		got := s.askPorts()
		at := slices.IndexFunc(got, func(p Port) bool { return p.Port == port })
		if at < 0 {
			t.Fatalf("port %d of %s is not among %v", port, address, got)
		}
		end()
		if again := newServer(t).askPorts(); slices.Contains(again, got[at]) {
			t.Errorf("port %d is there after its end", port)
		}
		if os.Getenv("CAUSEWAY_WINE") != "" {
			continue // Wine knows no owner of a socket
		}
		number := uint16(own.Addr().(*net.TCPAddr).Port)
		if slices.ContainsFunc(got, func(p Port) bool { return p.Port == number && p.ProcessName == got[at].ProcessName }) {
			t.Errorf("port %d of %s, which is the agent's own, is among %v", number, address, got)
		}
		executable, _ := os.Executable()
		// The kernel keeps 15 letters of a name.
		if name := filepath.Base(executable); got[at].Network != "tcp" || len(got[at].ProcessName) < 5 || name[:5] != got[at].ProcessName[:5] {
			t.Errorf("%+v, want the name %s", got[at], name)
		}
	}
}

// TestConnectionsAreNoListeners: the far end of a connection has a port too.
func TestConnectionsAreNoListeners(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	port := uint16(conn.LocalAddr().(*net.TCPAddr).Port)
	if got := newServer(t).askPorts(); slices.ContainsFunc(got, func(p Port) bool { return p.Port == port }) {
		t.Errorf("port %d of a connection is among the listeners", port)
	}
}

func TestShownPorts(t *testing.T) {
	var found []listener
	// The list of the protocol, 5.1.
	reserved := []uint32{
		0, 1, 2, 3, 4, 5, 6, 7, 8, 20, 21, 22, 23, 25, 53, 110, 143, 179, 389, 465, 587, 636, 989, 990, 993, 995, 3306, 3389, 5432,
		27017, 27018, 27019, 28017,
	}
	for _, port := range reserved {
		found = append(found, listener{"0.0.0.0", port, 1})
	}
	found = append(found,
		listener{"::", 8080, 7}, listener{"0.0.0.0", 8080, 7}, listener{"127.0.0.1", 3000, 0}, listener{"::1", 3000, 8},
		listener{"*", 9, 9}, listener{"127.0.0.53", 5353, 9}, listener{"192.0.2.7", 5354, 9}, listener{"::ffff:127.0.0.1", 24, 9},
		listener{"127.0.0.1", 65535, 9}, listener{"127.0.0.1", 65536, 9}, listener{"what?", 4000, 9},
	)
	got := shown(found, func(pid int32) string { return map[int32]string{7: "seven", 8: "eight", 9: "nine"}[pid] })
	want := []Port{{"nine", "tcp", 9}, {"nine", "tcp", 24}, {"eight", "tcp", 3000}, {"seven", "tcp", 8080}, {"nine", "tcp", 65535}}
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

// TestPortsAreScannedOnce: callers that poll share a scan.
func TestPortsAreScannedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		scans := 0
		cache := portCache{scan: func(ctx context.Context) ([]Port, error) {
			scans++
			if deadline, limited := ctx.Deadline(); !limited || time.Until(deadline) != scanLimit {
				t.Error("a scan has no limit")
			}
			return []Port{{"x", "tcp", uint16(scans)}}, nil
		}}
		for second := range 10 {
			for range 50 {
				ports, err := cache.get(t.Context())
				if want := uint16(second/2 + 1); err != nil || ports[0].Port != want {
					t.Fatalf("second %d: %v, %v, want %d", second, ports, err, want)
				}
			}
			time.Sleep(time.Second)
		}
		if scans != 5 {
			t.Errorf("%d scans in 10 s", scans)
		}
	})
}

func TestPortsCannotBeRead(t *testing.T) {
	s := newServer(t)
	s.ports.scan = func(context.Context) ([]Port, error) { return nil, errors.New("no such file") }
	if answer := s.ask("GET", "/api/v0/listening-ports", ""); answer.Code != 500 {
		t.Errorf("%d %s", answer.Code, answer.Body)
	}
}

func BenchmarkScan(b *testing.B) {
	for b.Loop() {
		if _, err := listening(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
