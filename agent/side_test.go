package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/crypto/ssh"
	upstream "tailscale.com/net/speedtest"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/agentv2"
)

// client makes HTTP requests through the tailnet.
func (u *user) client() *http.Client {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
		to, err := netip.ParseAddrPort(address)
		if err != nil {
			return nil, err
		}
		return u.net.DialTCP(ctx, to)
	}}
	u.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}

// fetch asks the agent's HTTP API.
func fetch(t *testing.T, client *http.Client, method string, addr netip.Addr, path, body string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, fmt.Sprintf("http://[%s]:4%s", addr, path), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(answer)
}

// TestHTTPOverTheTailnet asks port 4 of both addresses for everything, over the
// real network of the agent.
func TestHTTPOverTheTailnet(t *testing.T) {
	p := newPlane(t)
	p.manifest.Secrets = []*agentv2.WorkspaceSecret{{EnvName: "SECRET", Value: []byte("hunter2")}}
	p.manifest.EnvironmentVariables["PASSWORD"] = "hunter3"
	p.startAgent("").wait()
	u := p.newUser()
	addresses := proto.AgentAddrs(uuid.UUID(p.manifest.GetAgentId()))
	for _, addr := range addresses {
		u.dial(addr, 4).Close() // as often as it takes
	}
	client := u.client()
	for path, want := range map[string]string{
		"/": "Hello", "/api/v0/listening-ports": `"ports":[`, "/api/v0/netcheck": `"region_id":7`,
		"/debug/prometheus": "causeway_agent_control_connected 1", "/debug/magicsock": "<h1>magicsock</h1>", "/debug/manifest": `"workspace_name"`,
	} {
		for _, addr := range addresses {
			code, answer := fetch(t, client, "GET", addr, path, "")
			if code != 200 || !strings.Contains(answer, want) {
				t.Errorf("%s at %s: %d %s, want %q", path, addr, code, answer, want)
			}
			for _, secret := range []string{testToken, "hunter", "aHVudGVy"} {
				if strings.Contains(answer, secret) {
					t.Errorf("%s shows %s", path, secret)
				}
			}
		}
	}
	code, answer := fetch(t, client, "POST", addresses[0], "/api/v0/list-directory", `{"relativity":"root","path":["..","etc"]}`)
	if code != 400 {
		t.Errorf("path traversal: %d %s", code, answer)
	}
	_, fingerprint := sshTo(t, u.dial(addresses[0], 22))
	var keys struct{ Keys []string }
	_, answer = fetch(t, client, "GET", addresses[0], "/api/v0/ssh-host-keys", "")
	if err := json.Unmarshal([]byte(answer), &keys); err != nil || len(keys.Keys) != 1 {
		t.Fatalf("%s: %v", answer, err)
	}
	if key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(keys.Keys[0])); err != nil || ssh.FingerprintSHA256(key) != fingerprint {
		t.Errorf("%s: %v, SSH showed %s", keys.Keys[0], err, fingerprint)
	}
}

// TestLogsAreKept: /debug/logs has what the agent said, also what its own output
// leaves out, and no token.
func TestLogsAreKept(t *testing.T) {
	p := newPlane(t)
	p.startAgent("").wait()
	u := p.newUser()
	addr := proto.AgentAddrs(uuid.UUID(p.manifest.GetAgentId()))[0]
	u.dial(addr, 4).Close()
	client := u.client()
	if code, answer := fetch(t, client, "GET", addr, "/debug/logs", ""); code != 200 || !strings.Contains(answer, "level=DEBUG") || strings.Contains(answer, "msg=upstream") {
		t.Errorf("%d %s, want what the agent says, without its network", code, answer)
	}
	if code, answer := fetch(t, client, "POST", addr, "/debug/magicsock/debug-logging/on", ""); code != 200 {
		t.Fatal(code, answer)
	}
	eventually(t, "lines of upstream", func() bool {
		fetch(t, client, "GET", addr, "/api/v0/netcheck", "") // something to say
		code, answer := fetch(t, client, "GET", addr, "/debug/logs", "")
		if strings.Contains(answer, testToken) {
			t.Fatal("the log shows the token")
		}
		return code == 200 && strings.Contains(answer, "level=DEBUG msg=upstream")
	})
}

// TestSideOnAnotherNetwork: what serves the first network serves the next one.
func TestSideOnAnotherNetwork(t *testing.T) {
	p := newPlane(t)
	p.startAgent("").wait()
	p.mu.Lock()
	next := uuid.New()
	p.manifest.AgentId, p.manifest.DisableDirectConnections = next[:], true
	p.mu.Unlock()
	p.down()
	p.up()
	u := p.newUser()
	addr := proto.AgentAddrs(next)[0]
	u.dial(addr, 4).Close()
	code, answer := fetch(t, u.client(), "GET", addr, "/api/v0/netcheck", "")
	if code != 200 || !strings.Contains(answer, `"region_id":7`) {
		t.Errorf("%d %s", code, answer)
	}
	// A whole test takes long through the relay alone; that it begins is enough.
	conn := u.dial(addr, 3)
	conn.SetDeadline(time.Now().Add(patience))
	io.WriteString(conn, `{"version":2,"time":100000000,"direction":1}`+"\n")
	begins := make([]byte, 3)
	if _, err := io.ReadFull(conn, begins); err != nil || string(begins) != "{}\n" {
		t.Errorf("got %q, %v", begins, err)
	}
}

// TestSpeedOverTheTailnet runs upstream's client against port 3, both ways.
func TestSpeedOverTheTailnet(t *testing.T) {
	p := newPlane(t)
	p.startAgent("").wait()
	u := p.newUser()
	addr := proto.AgentAddrs(uuid.UUID(p.manifest.GetAgentId()))[0]
	u.dial(addr, 3).Close()
	bridge := u.bridge(addr, 3)
	for _, direction := range []upstream.Direction{upstream.Download, upstream.Upload} {
		t.Run(direction.String(), func(t *testing.T) {
			results, err := upstream.RunClient(direction, time.Second, bridge)
			if err != nil {
				t.Fatal(err)
			}
			total := results[len(results)-1]
			if !total.Total || total.Bytes < 1<<20 {
				t.Errorf("%d bytes", total.Bytes)
			}
			t.Logf("%s: %.0f Mbit/s", direction, total.MBitsPerSecond())
		})
	}
}

// bridge is a local port that leads to one of the agent's.
func (u *user) bridge(addr netip.Addr, port uint16) string {
	u.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		u.t.Fatal(err)
	}
	var work sync.WaitGroup
	work.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			work.Go(func() {
				defer near.Close()
				far, err := u.net.DialTCP(context.Background(), netip.AddrPortFrom(addr, port))
				if err != nil {
					return
				}
				defer far.Close()
				var outward sync.WaitGroup
				outward.Go(func() { copyHalf(far, near) })
				copyHalf(near, far)
				outward.Wait()
			})
		}
	})
	u.t.Cleanup(func() {
		listener.Close()
		work.Wait()
	})
	return listener.Addr().String()
}

// TestClientThatNeverReads: a program of the workspace that talks to a client
// which does not read is held back, after a bounded number of bytes.
func TestClientThatNeverReads(t *testing.T) {
	// What the buffers on the way may take: netstack's two, of 6 and 4 MB, and the
	// system's two, which grow to 6 and 4 MB by default on Linux.
	const mostHeld = 24 << 20
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	p := newPlane(t)
	p.startAgent("").wait()
	u := p.newUser()
	conn := u.dial(proto.AgentAddrs(uuid.UUID(p.manifest.GetAgentId()))[0], uint16(listener.Addr().(*net.TCPAddr).Port))
	io.WriteString(conn, "begin")
	program, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	taken, block := 0, make([]byte, 64<<10)
	for taken <= mostHeld {
		program.SetWriteDeadline(time.Now().Add(3 * time.Second))
		count, err := program.Write(block)
		taken += count
		if err != nil {
			break
		}
	}
	if taken > mostHeld {
		t.Errorf("%d bytes were taken for a client that reads nothing", taken)
	}
	t.Logf("%d KiB were taken", taken>>10)
	// It is only held back: nothing is lost when the client reads at last.
	program.SetWriteDeadline(time.Time{})
	program.(*net.TCPConn).CloseWrite()
	conn.SetDeadline(time.Now().Add(patience))
	if got, err := io.Copy(io.Discard, conn); err != nil || got != int64(taken) {
		t.Errorf("the client got %d of %d bytes, %v", got, taken, err)
	}
}

// TestClientThatGoes: a client that goes while it is being written to takes the
// connection of the program with it.
func TestClientThatGoes(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	f := newForwarder()
	defer f.close()
	near, far := tcpPair(t)
	handle, _ := f.tcp(uint16(listener.Addr().(*net.TCPAddr).Port))
	handled := make(chan struct{})
	go func() {
		defer close(handled)
		handle(far)
	}()
	program, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	near.(*net.TCPConn).SetLinger(0) // a reset, as when a machine has forgotten it
	near.Close()
	program.SetDeadline(time.Now().Add(patience))
	for err = nil; err == nil; {
		_, err = program.Write(bytes.Repeat([]byte("x"), 1<<16))
	}
	<-handled
	if len(f.conns) != 0 {
		t.Error("its place is taken")
	}
}

// TestTooManyConnections: one more than the limit is refused, and its place is
// free after another.
func TestTooManyConnections(t *testing.T) {
	f := newForwarder()
	defer f.close()
	port := echoTCP(t, "127.0.0.1:0")
	late, _ := f.tcp(port) // before the places were taken
	for range maxConnections {
		f.conns <- struct{}{}
	}
	if _, ok := f.tcp(port); ok {
		t.Error("a connection beyond the limit is taken")
	}
	near, far := tcpPair(t)
	late(far) // returns at once
	near.SetDeadline(time.Now().Add(patience))
	if _, err := near.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("got %v", err)
	}
	if got := f.refused.Load(); got != 2 {
		t.Errorf("%d refusals were counted", got)
	}
	<-f.conns
	near, far = tcpPair(t)
	handle, ok := f.tcp(port)
	if !ok {
		t.Fatal("refused")
	}
	go handle(far)
	near.SetDeadline(time.Now().Add(patience))
	io.WriteString(near, "x")
	if _, err := io.ReadFull(near, make([]byte, 1)); err != nil {
		t.Error(err)
	}
}
