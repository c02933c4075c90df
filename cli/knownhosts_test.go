package cli

import (
	"crypto/ed25519"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/crypto/ssh"

	"github.com/causewayhq/causeway/proto/localv1"
)

// testKey is always the same for a letter.
func testKey(letter byte) ssh.Signer {
	seed := [ed25519.SeedSize]byte{letter}
	key, err := ssh.NewSignerFromKey(ed25519.NewKeyFromSeed(seed[:]))
	if err != nil {
		panic(err)
	}
	return key
}

// hello serves SSH with the key: each command prints hello.
func hello(listener net.Listener, key ssh.Signer) {
	config := &ssh.ServerConfig{NoClientAuth: true}
	config.AddHostKey(key)
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			_, channels, requests, err := ssh.NewServerConn(conn, config)
			if err != nil {
				return
			}
			go ssh.DiscardRequests(requests)
			for offered := range channels {
				channel, requests, err := offered.Accept()
				if err != nil {
					return
				}
				go func() {
					for request := range requests {
						_ = request.Reply(request.Type == "exec", nil)
						if request.Type == "exec" {
							fmt.Fprintln(channel, "hello")
							_, _ = channel.SendRequest("exit-status", false, make([]byte, 4))
							channel.Close()
						}
					}
				}()
			}
		}()
	}
}

// startHostKeys is an agent until the script ends or has another one: its SSH
// server has the key A, on $PORT of this host and port 22 of the tunnel, a program
// of the workspace the key C on port 2222, and port 4 of the tunnel answers as the name says: hostkeys A (the truth), B (a lie),
// absent (as the agents of others), none (nobody listens), bad (no answer).
func startHostKeys(ts *testscript.TestScript, _ bool, args []string) {
	dir := ts.Getenv("SHORT")
	listen := func(network, address string) net.Listener {
		if network == "unix" {
			ts.Check(os.RemoveAll(address))
		}
		listener, err := net.Listen(network, address)
		ts.Check(err)
		return listener
	}
	var served sync.WaitGroup
	tcp, tunnel := listen("tcp", "127.0.0.1:0"), listen("unix", filepath.Join(dir, "22"))
	_, port, _ := net.SplitHostPort(tcp.Addr().String())
	ts.Setenv("PORT", port)
	other := listen("unix", filepath.Join(dir, "2222"))
	open := []net.Listener{tcp, tunnel, other}
	served.Go(func() { hello(other, testKey('C')) })
	served.Go(func() { hello(tcp, testKey('A')) })
	served.Go(func() { hello(tunnel, testKey('A')) })
	if args[0] == "none" {
		ts.Check(os.RemoveAll(filepath.Join(dir, "4")))
	} else {
		side := listen("unix", filepath.Join(dir, "4"))
		open = append(open, side)
		served.Go(func() {
			_ = http.Serve(side, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch {
				case args[0] == "absent" || r.URL.Path != "/api/v0/ssh-host-keys":
					http.NotFound(w, r)
				case args[0] == "bad":
					fmt.Fprint(w, `{"version":1,"keys":["x\nhost ssh-rsa"]}`)
				default:
					fmt.Fprintf(w, `{"version":1,"keys":[%q]}`, ssh.MarshalAuthorizedKey(testKey(args[0][0]).PublicKey()))
				}
			}))
		})
	}
	ts.Defer(func() {
		for _, listener := range open {
			listener.Close()
		}
		served.Wait()
	})
}

// relay joins its streams with a port of this host: ssh reaches it under a name
// that nobody resolves.
func relay() {
	conn, err := net.Dial("tcp", "127.0.0.1:"+os.Args[1])
	if err != nil {
		os.Exit(1)
	}
	go func() {
		_, _ = io.Copy(conn, os.Stdin)
		os.Exit(0)
	}()
	_, _ = io.Copy(os.Stdout, conn)
	os.Exit(0)
}

func TestAsksForKeys(t *testing.T) {
	for version, want := range map[string]bool{
		"OpenSSH_8.4p1, OpenSSL": false, "OpenSSH_8.5p1, OpenSSL": true, "OpenSSH_9.2p1 Debian-2": true, "OpenSSH_10.0p2": true, "OpenSSH_7.9": false,
		"": false, "-V": false, "dropbear OpenSSH_9.9": false, "OpenSSH_for_Windows_9.5p1": false,
	} {
		if got := asksForKeys(version); got != want {
			t.Errorf("%q: %v", version, got)
		}
	}
}

func TestHostKeyLines(t *testing.T) {
	keys := []ssh.PublicKey{testKey('A').PublicKey()}
	text := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(keys[0])))
	for _, test := range []struct {
		names []string
		want  string
	}{
		{[]string{"a.coder", "b.coder"}, "a.coder,b.coder " + text + "\n"},
		{[]string{"[a]:2"}, "[a]:2 " + text + "\n"},
		{[]string{"*", "a\nb", "!x", "a b", "a,b", "#", "@cert-authority", "|1|", ""}, ""},
	} {
		if got := hostKeyLines(test.names, keys); got != test.want {
			t.Errorf("%q: %q", test.names, got)
		}
	}
}

// TestTunnelAddr: keys are asked for at addresses of the tunnel only.
func TestTunnelAddr(t *testing.T) {
	for text, want := range map[string]bool{
		"fd60:627a:a42b::7": true, "fd7a:115c:a1e0::7": true, "fd60:627a:a42c::7": false, "127.0.0.1": false, "192.0.2.1": false, "x": false, "::ffff:fd60:627a": false,
	} {
		if _, got := tunnelAddr(&localv1.AgentStatus{Addresses: []string{text}}); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

func FuzzHostKeys(f *testing.F) {
	f.Add([]byte(`{"version":1,"keys":["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIkmq9jLTFP+C+sgqBdjTvTuTVDaYIgnWyFrRHM4LXa9"]}`))
	f.Add([]byte(`{"version":1,"keys":["a\nb"]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		keys, err := parseHostKeys(body)
		if err != nil {
			return
		}
		if lines := strings.Count(hostKeyLines([]string{"x"}, keys), "\n"); lines != len(keys) || lines == 0 || lines > maxHostKeys {
			t.Errorf("%q: %d lines of %d keys", body, lines, len(keys))
		}
	})
}
