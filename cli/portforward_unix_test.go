//go:build unix

package cli

import (
	"bufio"
	"crypto/ed25519"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// sshServer lets everybody in, and connects what is led through it to an echo.
func sshServer(t *testing.T) (address string) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	config := &ssh.ServerConfig{NoClientAuth: true}
	config.AddHostKey(key)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
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
				server, channels, requests, err := ssh.NewServerConn(conn, config)
				if err != nil {
					return
				}
				defer server.Close()
				go ssh.DiscardRequests(requests)
				for offered := range channels {
					channel, requests, err := offered.Accept()
					if err != nil {
						return
					}
					go ssh.DiscardRequests(requests)
					go func() {
						_, _ = io.Copy(channel, channel)
						channel.Close()
					}()
				}
			}()
		}
	}()
	return listener.Addr().String()
}

// TestPortForwardWithOpenSSH: with the real client, the line that says what
// listens comes when it does.
func TestPortForwardWithOpenSSH(t *testing.T) {
	const program = "/usr/bin/ssh"
	if _, err := os.Stat(program); err != nil {
		t.Skip("OpenSSH is not installed")
	}
	host, port, err := net.SplitHostPort(sshServer(t))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	serveFake(t, path, "connected")
	bin := filepath.Join(dir, "bin")
	if err := os.Mkdir(bin, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(program, filepath.Join(bin, "ssh")); err != nil {
		t.Fatal(err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, local, _ := strings.Cut(free.Addr().String(), ":")
	free.Close()
	causeway, err := exec.LookPath("causeway")
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(causeway, "port-forward", "myws", "-L", "127.0.0.1:"+local+":db:5432",
		"-o", "HostName="+host, "-o", "Port="+port, "-o", "KnownHostsCommand=none", "-o", "StrictHostKeyChecking=accept-new")
	command.Env = append(os.Environ(), "PATH="+bin+":/usr/bin:/bin", "HOME="+dir, "XDG_CONFIG_HOME="+dir, "CAUSEWAY_SOCKET="+path)
	stderr := new(output)
	command.Stderr = stderr
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil || line != "listening: 127.0.0.1:"+local+" here to db:5432\n" {
		t.Fatalf("%q, %v, %s", line, err, stderr.String())
	}
	conn, err := net.DialTimeout("tcp", "127.0.0.1:"+local, 5*time.Second)
	if err != nil {
		t.Fatalf("it does not listen: %v", err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "hello\n"); err != nil {
		t.Fatal(err)
	}
	if answer, err := bufio.NewReader(conn).ReadString('\n'); err != nil || answer != "hello\n" {
		t.Errorf("%q, %v", answer, err)
	}
	known, err := os.ReadFile(filepath.Join(dir, "causeway", "known_hosts"))
	if err != nil || !strings.Contains(string(known), "ssh-ed25519") {
		t.Errorf("the host key is not kept: %q, %v", known, err)
	}
}
