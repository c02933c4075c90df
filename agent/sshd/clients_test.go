//go:build unix

package sshd

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/causewayhq/causeway/proto/agentv2"
)

// variables reads the output of env -0.
func variables(text string) map[string]string {
	result := map[string]string{}
	for line := range strings.SplitSeq(text, "\x00") {
		if name, value, found := strings.Cut(line, "="); found {
			result[name] = value
		}
	}
	return result
}

// TestEnvironmentExactly: a process sees what it should and nothing else.
func TestEnvironmentExactly(t *testing.T) {
	t.Setenv("CAUSEWAY_AGENT_TOKEN", "secret")
	t.Setenv("INHERITED", "from the agent")
	authority := filepath.Join(t.TempDir(), "authority")
	r := newRig(t, "CODER=true", "INHERITED=from the manifest", "XAUTHORITY="+authority)
	session, err := r.dial(t).NewSession()
	if err != nil {
		t.Fatal(err)
	}
	for _, pair := range [][2]string{
		{"FROM_CLIENT", "a b"}, {"CODER", "from the client"}, {"CODER_SSH_SESSION_TYPE", "vscode"}, {"coder_ssh_session_type", "x"},
		{"CODER_CONTAINER", "x"}, {"CODER_CONTAINER_USER", "y"},
	} {
		if err := session.Setenv(pair[0], pair[1]); err != nil {
			t.Fatal(err)
		}
	}
	for name, payload := range map[string][]byte{
		"auth-agent-req@openssh.com": nil,
		"pty-req":                    ssh.Marshal(ptyMessage{Term: "vt220", Columns: 80, Rows: 24}),
		"x11-req":                    ssh.Marshal(x11Message{Protocol: "MIT-MAGIC-COOKIE-1", Cookie: testCookie, Screen: 2}),
	} {
		if ok, err := session.SendRequest(name, true, payload); !ok || err != nil {
			t.Fatalf("%s: %v, %v", name, ok, err)
		}
	}
	text, err := session.Output("exec env -0")
	if err != nil {
		t.Fatal(err)
	}
	got := variables(string(text))
	want := map[string]string{}
	for _, variable := range os.Environ() {
		if name, value, _ := strings.Cut(variable, "="); !strings.HasPrefix(name, "CAUSEWAY_AGENT_") {
			want[name] = value
		}
	}
	account := variables(strings.Join(r.server.config.Login.Variables(), "\x00"))
	maps.Copy(want, map[string]string{
		"USER": account["USER"], "LOGNAME": account["USER"], "HOME": account["HOME"], "SHELL": account["SHELL"],
		"CODER": "from the client", "INHERITED": "from the manifest", "FROM_CLIENT": "a b", "XAUTHORITY": authority, "TERM": "vt220",
		"SSH_CLIENT": "0.0.0.0 0 0", "SSH_CONNECTION": "0.0.0.0 0 0.0.0.0 0", "DISPLAY": got["DISPLAY"], "SSH_AUTH_SOCK": got["SSH_AUTH_SOCK"],
	})
	if !strings.HasPrefix(got["DISPLAY"], "localhost:") || !strings.HasSuffix(got["DISPLAY"], ".2") || !strings.Contains(got["SSH_AUTH_SOCK"], "causeway-ssh-agent-") {
		t.Errorf("DISPLAY=%q, SSH_AUTH_SOCK=%q", got["DISPLAY"], got["SSH_AUTH_SOCK"])
	}
	for _, ofShell := range []string{"PWD", "OLDPWD", "SHLVL", "_"} {
		delete(got, ofShell)
		delete(want, ofShell)
	}
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("%s=%q, want %q", name, got[name], want[name])
		}
	}
	for name, value := range got {
		if _, expected := want[name]; !expected {
			t.Errorf("%s=%q is not wanted", name, value)
		}
	}
}

// TestConfiguredClient: what needs a file of configuration: a jump through one
// server to the other, and a connection that sessions share.
func TestConfiguredClient(t *testing.T) {
	var mu sync.Mutex
	remotes := map[string]bool{} // whose sessions the first server had
	first, second := newRigWith(t, func(config *Config) {
		config.Opened = func(_ agentv2.Connection_Type, remote net.Addr) func(int32, string) {
			mu.Lock()
			defer mu.Unlock()
			remotes[remote.String()] = true
			return func(int32, string) {}
		}
	}), newRig(t)
	directory := t.TempDir()
	file := filepath.Join(directory, "config")
	common := "Host *\n  HostName 127.0.0.1\n  BatchMode yes\n  LogLevel ERROR\n  StrictHostKeyChecking accept-new\n  IdentityFile none\n  UserKnownHostsFile " + directory + "/known\n"
	text := fmt.Sprintf("Host first\n  Port %s\nHost second\n  Port %s\n%s", first.port, second.port, common)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(arguments ...string) string {
		t.Helper()
		r := &rig{t: t}
		stdout, stderr, status := r.ssh("", append([]string{"-F", file}, arguments...)...)
		if status != 0 {
			t.Fatalf("ssh %v: %q, %q, status %d", arguments, stdout, stderr, status)
		}
		return stdout
	}
	if got := run("-J", "first", "second", "pwd"); got != second.directory+"\n" {
		t.Errorf("-J leads to %q", got)
	}
	socket := filepath.Join(directory, "master")
	shared := []string{"-o", "ControlMaster=auto", "-o", "ControlPersist=20", "-o", "ControlPath=" + socket, "first"}
	defer func() {
		r := &rig{t: t}
		r.ssh("", "-F", file, "-O", "exit", "-o", "ControlPath="+socket, "first")
	}()
	for index := range 5 {
		if got := run(append(shared, fmt.Sprint("echo ", index))...); got != fmt.Sprintln(index) {
			t.Errorf("session %d says %q", index, got)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(remotes) != 1 {
		t.Errorf("the sessions of one connection came from %v", remotes)
	}
}

// TestDynamicForward: -D, asked as browsers do (RFC 1928).
func TestDynamicForward(t *testing.T) {
	r := newRig(t)
	target := shouter(t, "tcp", "127.0.0.1:0").Addr().(*net.TCPAddr)
	port := freePort(t)
	r.background(t, "-D", port)
	var conn net.Conn
	eventually(t, "the proxy", func() bool {
		var err error
		conn, err = net.Dial("tcp", "127.0.0.1:"+port)
		return err == nil
	})
	defer conn.Close()
	host := "localhost"
	request := append([]byte{5, 1, 0, 5, 1, 0, 3, byte(len(host))}, host...)
	request = append(request, byte(target.Port>>8), byte(target.Port))
	if _, err := conn.Write(request); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 2+10)
	if _, err := io.ReadFull(conn, answer); err != nil || answer[3] != 0 {
		t.Fatalf("the proxy answers %x, %v", answer, err)
	}
	_, _ = io.WriteString(conn, "socks")
	_ = conn.(*net.TCPConn).CloseWrite()
	if text, err := io.ReadAll(conn); err != nil || string(text) != "SOCKS" {
		t.Errorf("got %q, %v", text, err)
	}
}

// slowly reads in large pieces with pauses, so that the sender must wait.
type slowly struct {
	io.Reader
	pause time.Duration
}

func (s slowly) Read(buffer []byte) (int, error) {
	time.Sleep(s.pause)
	return s.Reader.Read(buffer)
}

// TestMillionLines: all arrive, in order, whoever reads.
func TestMillionLines(t *testing.T) {
	r := newRig(t)
	const count = 1_000_000
	for name, test := range map[string]struct {
		arguments []string
		pause     time.Duration
		end       string
	}{
		"pipe":                    {[]string{"127.0.0.1", "seq 1000000"}, 0, ""},
		"pipe with a slow reader": {[]string{"127.0.0.1", "seq 1000000"}, 2 * time.Millisecond, ""},
		"terminal":                {[]string{"-tt", "127.0.0.1", "seq 1000000"}, 0, "\r"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := r.command("ssh", test.arguments...)
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(slowly{stdout, test.pause})
			lines.Buffer(nil, 1<<16)
			lines.Split(splitRaw)
			seen := 0
			for lines.Scan() {
				if seen++; lines.Text() != fmt.Sprint(seen)+test.end {
					t.Fatalf("line %d is %q", seen, lines.Text())
				}
			}
			if err := cmd.Wait(); err != nil || seen != count {
				t.Errorf("%d lines, %v", seen, err)
			}
		})
	}
}

// splitRaw keeps the carriage returns.
func splitRaw(data []byte, _ bool) (int, []byte, error) {
	if at := bytes.IndexByte(data, '\n'); at >= 0 {
		return at + 1, data[:at], nil
	}
	return 0, nil, nil
}

// TestHundredSessions: all are open at the same time, each with a connection of
// its own; and as many over one connection.
func TestHundredSessions(t *testing.T) {
	const count = 100
	for _, shared := range []bool{false, true} {
		t.Run(fmt.Sprintf("one connection %v", shared), func(t *testing.T) {
			r := newRig(t)
			var common *ssh.Client
			if shared {
				common = r.dial(t)
			}
			var ready, work sync.WaitGroup
			ready.Add(count)
			for index := range count {
				client := common
				if client == nil {
					client = r.dial(t)
				}
				work.Go(func() { echoLater(t, client, fmt.Sprint("session ", index, "\n"), &ready) })
			}
			work.Wait()
		})
	}
}

// echoLater talks to cat once all sessions are ready.
func echoLater(t *testing.T, client *ssh.Client, text string, ready *sync.WaitGroup) {
	session, err := client.NewSession()
	if err != nil {
		ready.Done()
		t.Error(err)
		return
	}
	defer session.Close()
	stdin, _ := session.StdinPipe()
	stdout, _ := session.StdoutPipe()
	err = session.Start("cat; exit 3")
	ready.Done()
	if err != nil {
		t.Error(err)
		return
	}
	ready.Wait()
	_, _ = io.WriteString(stdin, text)
	stdin.Close()
	answer, _ := io.ReadAll(stdout)
	if string(answer) != text {
		t.Errorf("got %q, want %q", answer, text)
	}
	if err := session.Wait(); err == nil || !strings.Contains(err.Error(), "status 3") {
		t.Errorf("ended with %v", err)
	}
}

// TestLargeSFTP copies 64 MiB both ways, or 1 GiB where all is tested, through a
// bounded memory.
func TestLargeSFTP(t *testing.T) {
	size := int64(64 << 20)
	directory := t.TempDir()
	if os.Getenv("CAUSEWAY_RIGS") == "all" {
		size = 1 << 30
	}
	r := newRig(t)
	r.directory = directory
	source := filepath.Join(directory, "source")
	want := fill(t, source, size)
	var before runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	peak, stop := watchHeap()
	start := time.Now()
	for _, step := range []string{"put " + source + " up\n", "get up " + directory + "/back\n"} {
		cmd := r.long("sftp", "-b", "-", "127.0.0.1")
		cmd.Stdin = strings.NewReader(step)
		if output, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("sftp: %v: %s", err, output)
		}
	}
	took := time.Since(start)
	stop()
	grown := (int64(*peak) - int64(before.HeapAlloc)) >> 20
	t.Logf("%d MiB up and down in %v, %.0f MB/s, heap grew by %d MiB at most", size>>20, took, 2*float64(size)/1e6/took.Seconds(), grown)
	if grown > 48 {
		t.Errorf("the heap grew by %d MiB", grown)
	}
	for _, name := range []string{"up", "back"} {
		if got := sum(t, filepath.Join(directory, name)); !bytes.Equal(got, want) {
			t.Errorf("%s has another content", name)
		}
	}
}

// fill writes a file that does not repeat itself.
func fill(t *testing.T, path string, size int64) []byte {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	hash := sha256.New()
	block := make([]byte, 1<<20)
	for written := int64(0); written < size; written += int64(len(block)) {
		seed := sha256.Sum256(fmt.Append(nil, written))
		for at := 0; at < len(block); at += len(seed) {
			seed[at/len(seed)%len(seed)]++
			copy(block[at:], seed[:])
		}
		if _, err := io.MultiWriter(file, hash).Write(block); err != nil {
			t.Fatal(err)
		}
	}
	return hash.Sum(nil)
}

func sum(t *testing.T, path string) []byte {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		t.Fatal(err)
	}
	return hash.Sum(nil)
}

// watchHeap keeps the largest size of the heap until it is stopped.
func watchHeap() (peak *uint64, stop func()) {
	peak = new(uint64)
	done := make(chan struct{})
	var work sync.WaitGroup
	work.Go(func() {
		var now runtime.MemStats
		for {
			runtime.ReadMemStats(&now)
			*peak = max(*peak, now.HeapAlloc)
			select {
			case <-done:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
	return peak, func() {
		close(done)
		work.Wait()
	}
}
