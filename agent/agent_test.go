package agent

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/crypto/ssh"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/agentv2"
)

// sshTo opens an SSH connection through the tailnet and records the host key.
func sshTo(t *testing.T, conn net.Conn) (*ssh.Client, string) {
	t.Helper()
	fingerprint := ""
	wire, channels, requests, err := ssh.NewClientConn(conn, "agent", &ssh.ClientConfig{
		User: "anyone",
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			fingerprint = ssh.FingerprintSHA256(key)
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	client := ssh.NewClient(wire, channels, requests)
	t.Cleanup(func() { client.Close() })
	return client, fingerprint
}

func output(t *testing.T, client *ssh.Client, command string) string {
	t.Helper()
	session, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	text, err := session.Output(command)
	if err != nil {
		t.Fatalf("run %q: %v", command, err)
	}
	return string(text)
}

func TestAgentServesItsPorts(t *testing.T) {
	p := newPlane(t)
	names := p.startAgent("").wait()
	if want := []string{"main.myws.me.coder", "main.myws.alice.coder"}; !slices.Equal(names, want) {
		t.Errorf("names are %q, want %q", names, want)
	}
	id := uuid.UUID(p.manifest.GetAgentId())
	u := p.newUser()
	addresses := proto.AgentAddrs(id)

	t.Run("ssh on both ports of both addresses", func(t *testing.T) {
		for _, addr := range addresses {
			for _, port := range []uint16{1, 22} {
				client, _ := sshTo(t, u.dial(addr, port))
				got := output(t, client, "pwd; echo $CODER_WORKSPACE_NAME/$CODER_WORKSPACE_AGENT_NAME/$CODER_WORKSPACE_OWNER_NAME; echo $FROM_MANIFEST; echo $CODER_AGENT_TOKEN")
				want := fmt.Sprintf("%s\nmyws/main/alice\nhome is %s\n%s\n", p.manifest.GetDirectory(), os.Getenv("HOME"), testToken)
				if got != want {
					t.Errorf("%s port %d: got %q, want %q", addr, port, got, want)
				}
			}
		}
	})
	t.Run("OpenSSH", func(t *testing.T) { checkOpenSSH(t, u, addresses[1]) })
	t.Run("TCP to localhost", func(t *testing.T) {
		for _, host := range []string{"127.0.0.1", "[::1]"} {
			port := echoTCP(t, host+":0")
			payload := make([]byte, 8<<20)
			_, _ = rand.Read(payload)
			if got := exchange(t, u.dial(addresses[1], port), payload); !bytes.Equal(got, payload) {
				t.Errorf("%s: got %d bytes of %d", host, len(got), len(payload))
			}
		}
	})
	t.Run("UDP to localhost", func(t *testing.T) {
		for _, host := range []string{"127.0.0.1", "[::1]"} {
			checkUDP(t, u, netip.AddrPortFrom(addresses[1], echoUDP(t, host+":0")))
		}
	})
	t.Run("closed ports", func(t *testing.T) {
		for _, port := range []uint16{5, 8, freePort(t)} {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			conn, err := u.net.DialTCP(ctx, netip.AddrPortFrom(addresses[1], port))
			cancel()
			if err != nil {
				continue
			}
			conn.SetDeadline(time.Now().Add(patience))
			if count, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("port %d: read %d bytes, %v", port, count, err)
			}
			conn.Close()
		}
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.startup.GetVersion() != "v-test" || p.startup.GetExpandedDirectory() != p.manifest.GetDirectory() {
		t.Errorf("startup is %v", p.startup)
	}
}

func checkOpenSSH(t *testing.T, u *user, addr netip.Addr) {
	program, err := exec.LookPath("ssh")
	if err != nil {
		t.Skipf("the OpenSSH client is not installed: %v", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	bridge := newForwarder()
	accepted := make(chan struct{})
	go func() {
		defer close(accepted)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			target := u.dial(addr, 22)
			go bridge.own(conn, func() {
				go copyHalf(target, conn)
				copyHalf(conn, target)
			})
		}
	}()
	t.Cleanup(func() {
		listener.Close()
		<-accepted
		bridge.close()
	})
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	cmd := exec.Command(program, "-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=accept-new", "-o", "LogLevel=ERROR",
		"-o", "UserKnownHostsFile="+filepath.Join(t.TempDir(), "known_hosts"), "-p", port, "127.0.0.1",
		"head -c 10000000 /dev/zero | tr '\\0' x; echo end; exit 7")
	text, err := cmd.Output()
	if len(text) != 10_000_004 || !strings.HasSuffix(string(text), "xend\n") || cmd.ProcessState.ExitCode() != 7 {
		t.Errorf("got %d bytes, %v", len(text), err)
	}
}

func exchange(t *testing.T, conn net.Conn, payload []byte) []byte {
	t.Helper()
	conn.SetDeadline(time.Now().Add(patience))
	go func() {
		conn.Write(payload)
		conn.(interface{ CloseWrite() error }).CloseWrite()
	}()
	got, err := io.ReadAll(conn)
	if err != nil {
		t.Errorf("read echo: %v", err)
	}
	return got
}

func echoTCP(t *testing.T, address string) uint16 {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				io.Copy(conn, conn)
			}()
		}
	}()
	return uint16(listener.Addr().(*net.TCPAddr).Port)
}

func echoUDP(t *testing.T, address string) uint16 {
	t.Helper()
	conn, err := net.ListenPacket("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		buffer := make([]byte, maxDatagram)
		for {
			count, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			conn.WriteTo(buffer[:count], from)
		}
	}()
	return uint16(conn.LocalAddr().(*net.UDPAddr).Port)
}

// checkUDP sends the largest datagram that the tunnel carries whole.
func checkUDP(t *testing.T, u *user, to netip.AddrPort) {
	t.Helper()
	conn, err := u.net.DialUDP(context.Background(), to)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, size := range []int{1, 1232} {
		payload := make([]byte, size)
		_, _ = rand.Read(payload)
		buffer := make([]byte, 2000)
		eventually(t, fmt.Sprintf("an echo of %d bytes", size), func() bool {
			conn.Write(payload)
			conn.SetReadDeadline(time.Now().Add(time.Second))
			count, err := conn.Read(buffer)
			return err == nil && bytes.Equal(buffer[:count], payload)
		})
	}
}

func freePort(t *testing.T) uint16 {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return uint16(listener.Addr().(*net.TCPAddr).Port)
}

func TestSessionsOutliveTheControlPlane(t *testing.T) {
	p := newPlane(t)
	p.startAgent("").wait()
	u := p.newUser()
	client, _ := sshTo(t, u.dial(proto.AgentAddrs(uuid.UUID(p.manifest.GetAgentId()))[1], 22))
	session, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	input, _ := session.StdinPipe()
	stdout, _ := session.StdoutPipe()
	if err := session.Start("cat"); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(stdout)
	echo := func(text string) {
		t.Helper()
		io.WriteString(input, text+"\n")
		if got, err := lines.ReadString('\n'); err != nil || got != text+"\n" {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	echo("before")
	p.down()
	for i := range 60 { // dials fail again and again meanwhile
		echo(fmt.Sprintf("without a control plane, %d", i))
		time.Sleep(100 * time.Millisecond)
	}
	before := p.dials.Load()
	p.up()
	eventually(t, "the agent to come back", func() bool { return p.dials.Load() > before })
	echo("after")
	input.Close()
	if err := session.Wait(); err != nil {
		t.Error(err)
	}
}

// TestBothAddressesAreAnnounced in their order.
func TestBothAddressesAreAnnounced(t *testing.T) {
	p := newPlane(t)
	id := uuid.UUID(p.manifest.GetAgentId())
	r := p.startAgent(filepath.Join(t.TempDir(), "state"))
	r.wait()
	eventually(t, "the agent has announced itself", func() bool { return p.coordinator.Node(id) != nil })
	node := p.coordinator.Node(id)
	want := []string{proto.AddrFromUUID(proto.TailscalePrefix, id).String() + "/128", proto.AddrFromUUID(proto.ServicePrefix, id).String() + "/128"}
	if !slices.Equal(node.GetAddresses(), want) || len(node.GetAllowedIps()) < 2 || !slices.Equal(node.GetAllowedIps()[:2], want) {
		t.Errorf("announced %v for %v, want %v", node.GetAllowedIps(), node.GetAddresses(), want)
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
}

func TestAgentIsTheSameAfterRestart(t *testing.T) {
	p := newPlane(t)
	addr := proto.AgentAddrs(uuid.UUID(p.manifest.GetAgentId()))[0]
	var prints []string
	var identities []string
	stateDir := filepath.Join(t.TempDir(), "state")
	for range 2 {
		r := p.startAgent(stateDir)
		r.wait()
		_, print := sshTo(t, p.newUser().dial(addr, 22))
		prints = append(prints, print)
		if _, err := OpenState(stateDir); !errors.Is(err, ErrState) || !errors.Is(err, errHeld) {
			t.Errorf("a second agent on the state directory gets %v", err)
		}
		started := time.Now()
		if err := r.stop(); err != nil {
			t.Error(err)
		}
		if took := time.Since(started); took > 5*time.Second {
			t.Errorf("the end took %v", took)
		}
		content, err := os.ReadFile(filepath.Join(stateDir, identityName))
		if err != nil {
			t.Fatal(err)
		}
		identities = append(identities, string(content))
	}
	if prints[0] != prints[1] || prints[0] == "" || identities[0] != identities[1] {
		t.Errorf("host keys %q, identities %q", prints, identities)
	}
	if !strings.Contains(identities[0], `"port":`) || strings.Contains(identities[0], `"port":0`) {
		t.Error("the UDP port was not kept")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	life := []agentv2.Lifecycle_State{
		agentv2.Lifecycle_STARTING, agentv2.Lifecycle_READY, agentv2.Lifecycle_SHUTTING_DOWN, agentv2.Lifecycle_OFF,
	}
	if want := append(slices.Clone(life), life...); !slices.Equal(p.lifecycle, want) {
		t.Errorf("lifecycle is %v, want %v", p.lifecycle, want)
	}
}

func TestManifestDemandsAnotherNetwork(t *testing.T) {
	p := newPlane(t)
	p.startAgent("").wait()
	p.mu.Lock()
	next := uuid.New()
	p.manifest.AgentId, p.manifest.DisableDirectConnections = next[:], true
	p.mu.Unlock()
	p.down()
	p.up()
	client, _ := sshTo(t, p.newUser().dial(proto.AgentAddrs(next)[1], 22))
	if got := output(t, client, "echo moved"); got != "moved\n" {
		t.Errorf("got %q", got)
	}
}
