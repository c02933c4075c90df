package agentclients

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"github.com/causewayhq/causeway/internal/rig"
)

// The sequences are those of docs/ide-sequences.md. They are written down from
// what is publicly known of these programs, and NOT RECORDED from the real ones.

// editorServer stands for the server that an editor runs in the workspace: it
// says where it listens, in a line that begins with the first argument, and
// answers each line with how many its token has sent, over however many
// connections. The second argument is a socket's path, or 0 for any port.
const editorServer = `import os, socket, sys, threading
said, where = sys.argv[1], sys.argv[2]
open("/tmp/clients/%d.editor" % os.getpid(), "w").close()
if where == "0":
    listener = socket.create_server(("127.0.0.1", 0)); where = str(listener.getsockname()[1])
else:
    listener = socket.socket(socket.AF_UNIX); listener.bind(where); listener.listen()
print(said + where, flush=True)
counts = {}
def serve(connection):
    lines = connection.makefile("rw")
    token = lines.readline()
    for line in lines:
        counts[token] = counts.get(token, 0) + 1
        lines.write("%d %s" % (counts[token], line)); lines.flush()
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
`

// bootstrap is what VS Code's client writes to the shell of its first session:
// marked output, a wait for the server's archive when it is not there, the start
// of the server apart from the session, and where it listens.
const bootstrap = `echo "mark: running"
dir=~/.vscode-server/bin/0123456789abcdef
mkdir -p "$dir"
if [ ! -e "$dir/server.py" ]; then
  echo "mark:trigger_server_download"
  for i in $(seq 200); do [ -e /tmp/clients/vscode-server.tar.done ] && break; sleep 0.1; done
  tar -C "$dir" -xf /tmp/clients/vscode-server.tar
fi
if [ ! -e "$dir/log" ]; then
  nohup setsid python3 "$dir/server.py" "Extension host agent listening on " 0 > "$dir/log" 2>&1 < /dev/null &
fi
for i in $(seq 200); do at=$(sed -n 's/^Extension host agent listening on //p' "$dir/log" 2>/dev/null); [ -n "$at" ] && break; sleep 0.1; done
echo "mark: start"
echo "listeningOn==$at=="
echo "platform==$(uname -s)=="
echo "arch==$(uname -m)=="
echo "exitCode==0=="
echo "mark: end"
`

// vscode is a window's connection: ssh with -D, in which the bootstrap runs.
type vscode struct {
	cmd   *exec.Cmd
	input io.WriteCloser
	lines *bufio.Reader
	// listening is where the server is.
	listening string
}

const socksPort = "54321"

// open starts ssh as VS Code does, and the bootstrap in it. upload is called
// when the remote side asks for the server.
func (w *world) openVSCode(t *testing.T, upload func()) *vscode {
	t.Helper()
	v := &vscode{cmd: w.On(t.Context(), "ssh", "-v", "-T", "-D", socksPort, "-o", "ConnectTimeout=15", "-o", "BatchMode=yes", rig.Name, "bash")}
	var err error
	v.input, err = v.cmd.StdinPipe()
	must(t, err)
	output, err := v.cmd.StdoutPipe()
	must(t, err)
	must(t, v.cmd.Start())
	t.Cleanup(v.close)
	v.lines = bufio.NewReader(output)
	_, err = io.WriteString(v.input, bootstrap)
	must(t, err)
	for {
		line, err := v.lines.ReadString('\n')
		if err != nil {
			t.Fatalf("the bootstrap ended: %v", err)
		}
		switch line = strings.TrimSpace(line); {
		case strings.HasSuffix(line, "trigger_server_download"):
			upload()
		case strings.HasPrefix(line, "listeningOn=="):
			v.listening = strings.Trim(strings.TrimPrefix(line, "listeningOn"), "=")
		case line == "mark: end":
			return v
		}
	}
}

func (v *vscode) close() {
	v.input.Close()
	_ = v.cmd.Cancel()
	_ = v.cmd.Wait()
}

// channel is one connection of the editor to its server.
type channel struct {
	to   io.Writer
	from *bufio.Reader
}

func (c channel) says(t *testing.T, line, want string) {
	t.Helper()
	_, err := io.WriteString(c.to, line+"\n")
	must(t, err)
	if got, err := c.from.ReadString('\n'); err != nil || strings.TrimSpace(got) != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

// dial runs what connects its standard streams, and says the token.
func (w *world) dialEditor(t *testing.T, token, program string, args ...string) channel {
	t.Helper()
	cmd := w.On(t.Context(), program, args...)
	input, err := cmd.StdinPipe()
	must(t, err)
	output, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() { input.Close(); _ = cmd.Cancel(); _ = cmd.Wait() })
	_, err = io.WriteString(input, token+"\n")
	must(t, err)
	return channel{input, bufio.NewReader(output)}
}

func (w *world) socks(t *testing.T, token, port string) channel {
	t.Helper()
	return w.dialEditor(t, token, "nc", "-X", "5", "-x", "127.0.0.1:"+socksPort, "127.0.0.1", port)
}

// counted says whether a connection of the kind is listed as open.
func (w *world) counted(t *testing.T, kind string, open bool) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s open: %v", kind, open), func() bool {
		for _, each := range w.connections(t, "--open") {
			if each.Type == kind {
				return open
			}
		}
		return !open
	})
}

// endEditors ends the servers that outlive their sessions, each by its number.
func (w *world) endEditors(t *testing.T) {
	_, err := w.Net.Agent.Run(context.Background(), "bash", "-c", `cd /tmp/clients; for each in *.editor; do kill "${each%.editor}"; done; true`)
	if err != nil {
		t.Error(err)
	}
}

// TestVSCode replays docs/ide-sequences.md, "VS Code".
func TestVSCode(t *testing.T) {
	needRig(t, true)
	w := newWorld(t, plan{})
	t.Cleanup(func() { w.endEditors(t) })
	must(t, w.Net.Client.Write(t.Context(), "/tmp/clients/server.py", editorServer))
	uploaded := false
	upload := func() {
		uploaded = true
		w.client(t, "cd /tmp/clients; tar -cf vscode-server.tar server.py; scp -q -B vscode-server.tar "+rig.Name+":/tmp/clients/; ssh -o BatchMode=yes "+rig.Name+" touch /tmp/clients/vscode-server.tar.done")
	}
	began := time.Now()
	v := w.openVSCode(t, upload)
	if !uploaded {
		t.Error("the server was not asked for")
	}
	figure(t, "VS Code's sequence, not recorded from the real program: %.1f s from ssh to a server that listens", time.Since(began).Seconds())

	// Two connections over the one -D: management and extension host.
	management, extensions := w.socks(t, "window-1", v.listening), w.socks(t, "extensions-1", v.listening)
	management.says(t, "hello", "1 hello")
	extensions.says(t, "hello", "1 hello")
	management.says(t, "again", "2 again")
	w.counted(t, "vscode", true)
	status, err := w.Admin(within(t, patience), "agent", "status", agentPath, "--json")
	must(t, err)
	if !strings.Contains(status, `"vscode"`) {
		t.Errorf("agent status does not show the editor:\n%s", status)
	}

	// The session that began it all still answers: it is long-lived.
	_, err = io.WriteString(v.input, "echo alive\n")
	must(t, err)
	if line, err := v.lines.ReadString('\n'); err != nil || line != "alive\n" {
		t.Errorf("the session says %q, %v", line, err)
	}

	// The connection is cut. The server goes on, and knows the token.
	v.close()
	w.counted(t, "vscode", false)
	again := w.openVSCode(t, func() { t.Error("the server is asked for again") })
	if again.listening != v.listening {
		t.Errorf("the server is at %s, was at %s", again.listening, v.listening)
	}
	w.socks(t, "window-1", again.listening).says(t, "back", "3 back")
	again.close()

	// remote.SSH.remoteServerListenOnSocket: the server has a unix socket.
	_, err = w.onAgent(t.Context(), "setsid python3 ~/.vscode-server/bin/0123456789abcdef/server.py 'listening ' /tmp/clients/vscode.sock > /tmp/clients/sock.log 2>&1 < /dev/null &")
	must(t, err)
	w.background(t, w.sshCommand(t.Context(), "-N", "-L", "54322:/tmp/clients/vscode.sock", rig.Name))
	eventually(t, "the forward to the socket", func() bool {
		_, err := w.onClient(t.Context(), "ss -ltn | grep -q :54322")
		_, there := w.onAgent(t.Context(), "test -S /tmp/clients/vscode.sock")
		return err == nil && there == nil
	})
	w.dialEditor(t, "window-2", "nc", "127.0.0.1", "54322").says(t, "over a socket", "1 over a socket")
}

// TestJetBrains replays docs/ide-sequences.md, "JetBrains Gateway", with a
// client of its own, as Gateway has one.
func TestJetBrains(t *testing.T) {
	needRig(t, true)
	w := newWorld(t, plan{})
	t.Cleanup(func() { w.endEditors(t) })
	began := time.Now()
	client := w.dialSSH(t)
	run := func(command string) string {
		t.Helper()
		session, err := client.NewSession()
		must(t, err)
		defer session.Close()
		output, err := session.Output(command)
		must(t, err)
		return string(output)
	}
	// 1. What the host is.
	if got := run("uname -sm"); !strings.HasPrefix(got, "Linux ") {
		t.Errorf("uname: %q", got)
	}
	// 2. The worker and the backend are uploaded over SFTP, and checked.
	files, err := sftp.NewClient(client)
	must(t, err)
	const dir = ".cache/JetBrains/RemoteDev/dist/0a1b2c_idea/bin"
	must(t, files.MkdirAll(dir))
	for _, name := range []string{"remote-dev-server.part", "worker.part"} {
		file, err := files.Create(dir + "/" + name)
		must(t, err)
		_, err = io.WriteString(file, editorServer)
		must(t, err)
		must(t, file.Close())
		must(t, files.Chmod(dir+"/"+name, 0o755))
		must(t, files.PosixRename(dir+"/"+name, dir+"/"+strings.TrimSuffix(name, ".part")))
	}
	must(t, files.Close())
	if got := run("sha256sum < ~/" + dir + "/worker; sha256sum < ~/" + dir + "/remote-dev-server"); len(strings.Fields(got)) != 4 || strings.Fields(got)[0] != strings.Fields(got)[2] {
		t.Errorf("checksums: %q", got)
	}
	// 3. The backend is started apart from the session, and says its port.
	link := run("cd; setsid nohup python3 " + dir + "/remote-dev-server joinLink:tcp://127.0.0.1: 0 -Didea.vendor.name=JetBrains > /tmp/clients/backend.log 2>&1 < /dev/null & until grep -q joinLink /tmp/clients/backend.log 2>/dev/null; do sleep 0.1; done; cat /tmp/clients/backend.log")
	target := strings.TrimPrefix(strings.TrimSpace(link), "joinLink:tcp://")
	// 4. The thin client's connection: direct-tcpip.
	open := func(client *ssh.Client) channel {
		t.Helper()
		conn, err := client.Dial("tcp", target)
		must(t, err)
		_, err = io.WriteString(conn, "thin-client\n")
		must(t, err)
		return channel{conn, bufio.NewReader(conn)}
	}
	open(client).says(t, "hello", "1 hello")
	figure(t, "JetBrains Gateway's sequence, not recorded from the real program: %.1f s from the connection to the backend's first answer", time.Since(began).Seconds())
	w.counted(t, "jetbrains", true)
	// 5. Keep-alives are answered, whatever the answer is.
	for range 3 {
		if _, _, err := client.SendRequest("keepalive@openssh.com", true, nil); err != nil {
			t.Errorf("keep-alive: %v", err)
		}
	}
	// 6. After a cut, the next connection finds the same backend.
	client.Close()
	w.counted(t, "jetbrains", false)
	client = w.dialSSH(t)
	open(client).says(t, "back", "2 back")
	w.counted(t, "jetbrains", true)
	client.Close()
}

// dialSSH is a client of x/crypto from the desktop's network to the agent.
func (w *world) dialSSH(t *testing.T) *ssh.Client {
	t.Helper()
	address := firstWord(w.client(t, "getent ahostsv6 "+rig.Name))
	var conn net.Conn
	var err error
	inNetwork(t, w.Net.Client, func() { conn, err = net.DialTimeout("tcp", net.JoinHostPort(address, "22"), 20*time.Second) })
	must(t, err)
	wire, channels, requests, err := ssh.NewClientConn(conn, rig.Name, &ssh.ClientConfig{
		User: "anyone", HostKeyCallback: ssh.InsecureIgnoreHostKey(), //nolint:gosec // TestOpenSSH checks keys
	})
	must(t, err)
	client := ssh.NewClient(wire, channels, requests)
	t.Cleanup(func() { client.Close() })
	return client
}
