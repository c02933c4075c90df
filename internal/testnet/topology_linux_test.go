package testnet

import (
	"context"
	"os"
	"strings"
	"testing"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, for namespaces")
	}
}

// udpPort sends from a fixed port to two destinations and returns the source
// ports that the destinations saw.
func udpPorts(t *testing.T, topology *Topology) []string {
	t.Helper()
	ctx := t.Context()
	var ports []string
	for host, addr := range map[*Host]string{topology.Server: ServerAddr, topology.Proxy: ProxyAddr} {
		ready, cancel := context.WithCancel(ctx)
		listen := host.Command(ready, "python3", "-c", `
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("0.0.0.0", 9000)); s.settimeout(20); print("ready", flush=True)
data, peer = s.recvfrom(100); print(peer[1], flush=True); s.sendto(data, peer)`)
		output, err := listen.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := listen.Start(); err != nil {
			t.Fatal(err)
		}
		line := make([]byte, 64)
		if _, err := output.Read(line); err != nil {
			t.Fatal(err)
		}
		if answer, err := topology.Client.Run(ctx, "python3", "-c", `
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("0.0.0.0", 5000)); s.settimeout(20); s.sendto(b"x", (sys.argv[1], 9000)); s.recvfrom(100)`, addr); err != nil {
			t.Fatalf("no answer through the NAT: %v %s", err, answer)
		}
		count, err := output.Read(line)
		if err != nil {
			t.Fatal(err)
		}
		ports = append(ports, strings.TrimSpace(string(line[:count])))
		listen.Wait()
		cancel()
	}
	return ports
}

func TestNATs(t *testing.T) {
	needRoot(t)
	for name, test := range map[string]struct {
		nat  NAT
		kept bool
	}{"easy": {EasyNAT, true}, "hard": {HardNAT, false}} {
		t.Run(name, func(t *testing.T) {
			topology, err := New(t.Context(), test.nat, Public)
			if err != nil {
				t.Fatal(err)
			}
			defer topology.Close()
			ports := udpPorts(t, topology)
			if kept := ports[0] == "5000" && ports[1] == "5000"; kept != test.kept {
				t.Errorf("source ports seen: %v; kept: %v, want %v", ports, kept, test.kept)
			}
			if output, err := topology.Internet.Run(t.Context(), "ping", "-c1", "-W1", "10.77.1.2"); err == nil {
				t.Errorf("the client answers unasked from outside: %s", output)
			}
		})
	}
}

func TestHostKeepsItsFilesToItself(t *testing.T) {
	needRoot(t)
	before, err := os.ReadFile("/etc/hosts")
	if err != nil {
		t.Fatal(err)
	}
	host, err := NewHost(t.Context(), "private")
	if err != nil {
		t.Fatal(err)
	}
	if err := host.Write(t.Context(), "/etc/hosts.new", "127.0.0.9 only-here\n"); err != nil {
		t.Fatal(err)
	}
	if output, err := host.Shell(t.Context(), "mv /etc/hosts.new /etc/hosts; getent hosts only-here; ls -A /var/lib"); err != nil || !strings.Contains(output, "127.0.0.9") {
		t.Errorf("rename within /etc: %v %s", err, output)
	}
	if err := host.Close(); err != nil {
		t.Error(err)
	}
	after, err := os.ReadFile("/etc/hosts")
	if err != nil || string(after) != string(before) {
		t.Errorf("the machine's /etc/hosts changed: %v\n%s", err, after)
	}
}
