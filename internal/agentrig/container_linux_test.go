package agentrig

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

// inside makes the root of a container at $ROOT, in which nothing can be written
// but /tmp, where nothing can be executed, and becomes a user there that nobody
// has heard of, without capabilities: all in namespaces of its own, as process 1.
const inside = `set -e
mount -t tmpfs -o mode=755 none "$ROOT"
cd "$ROOT"
mkdir usr proc dev tmp etc
ln -s usr/bin usr/lib usr/lib64 .
mount --bind /usr usr
mount -o remount,bind,ro usr
mount -t proc none proc
mount -t tmpfs -o noexec,mode=1777 none tmp
for device in null zero urandom; do touch dev/$device; mount --bind /dev/$device dev/$device; done
mkdir dev/pts
mount -t devpts -o newinstance,ptmxmode=666,mode=620 none dev/pts
ln -s pts/ptmx dev/ptmx
cp "$PROGRAM" agent
mount -o remount,ro,mode=755 none "$ROOT"
exec chroot "$ROOT" /usr/bin/setpriv --reuid 54321 --regid 54321 --clear-groups --bounding-set -all --inh-caps -all --no-new-privs \
  /usr/bin/env -i PATH=/usr/bin "$@"`

// contained makes what runs a command as the container's first process.
func contained(ctx context.Context, t *testing.T, program string, command ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(ctx, "unshare", append([]string{"--mount", "--pid", "--fork", "--kill-child", "sh", "-c", inside, "sh"}, command...)...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "ROOT=" + t.TempDir(), "PROGRAM=" + program}
	cmd.WaitDelay = time.Second
	return cmd
}

type safeBuffer struct {
	mu   sync.Mutex
	data bytes.Buffer
}

func (b *safeBuffer) Write(data []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data.Write(data)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data.String()
}

// TestContainer: the agent as the only program of a container without privileges.
func TestContainer(t *testing.T) {
	if os.Getenv("CAUSEWAY_RIGS") == "" {
		t.Skip("a rig: make test and make e2e run it")
	}
	r := newRig(t)
	program := filepath.Join(t.TempDir(), "causeway-agent")
	building := exec.Command("go", "build", "-o", program, "./cmd/causeway-agent")
	building.Dir, building.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
	if output, err := building.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	run := []string{"/agent", "run", "--url", r.url.String()}
	token := "CAUSEWAY_AGENT_TOKEN=" + r.agentToken
	t.Run("no place for keys", func(t *testing.T) {
		for says, test := range map[string]struct {
			command []string
			code    int
		}{
			"HOME is not set": {append([]string{token}, run...), 2},
			"read-only file system; name a directory that this user can write with --state-dir": {append([]string{token, "HOME=/"}, run...), 11},
		} {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			output, err := contained(ctx, t, program, test.command...).CombinedOutput()
			cancel()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != test.code || !strings.Contains(string(output), says) {
				t.Errorf("%s: %v %s", says, err, output)
			}
		}
	})
	t.Run("on a terminal", func(t *testing.T) { onTerminal(t, r, program, run) })
	log := &safeBuffer{}
	cmd := contained(context.Background(), t, program, append(append([]string{token}, run...), "--state-dir", "/tmp/state")...)
	cmd.Stdout, cmd.Stderr = log, log
	must(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { cmd.Process.Kill() })
	eventually(t, "the connection", func() bool { return strings.Contains(log.String(), "connected to ") })
	client := r.ssh(r.join())
	t.Run("sessions", func(t *testing.T) { containedSessions(t, client) })
	t.Run("zombies", func(t *testing.T) { containedZombies(t, client) })
	t.Run("end", func(t *testing.T) {
		children, err := os.ReadFile("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/task/" + strconv.Itoa(cmd.Process.Pid) + "/children")
		must(t, err)
		first, err := strconv.Atoi(strings.TrimSpace(string(children)))
		must(t, err)
		must(t, syscall.Kill(first, syscall.SIGTERM))
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("it ended with %v\n%s", err, log.String())
			}
		case <-time.After(patience):
			t.Fatalf("it does not end\n%s", log.String())
		}
		var life struct{ Steps []struct{ State string } }
		eventually(t, "the last step", func() bool {
			r.call("GET", "/lifecycle", "", &life)
			return len(life.Steps) > 0 && strings.EqualFold(life.Steps[len(life.Steps)-1].State, "off")
		})
	})
}

// onTerminal types the token in a container's terminal, and then Ctrl-C.
func onTerminal(t *testing.T, r *rig, program string, run []string) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	cmd := contained(ctx, t, program, append(run, "--state-dir", "/tmp/state", "--token-file", "-")...)
	screen, err := pty.Start(cmd)
	must(t, err)
	defer screen.Close()
	log := &safeBuffer{}
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(log, screen) // it ends with the program
	}()
	_, err = io.WriteString(screen, r.agentToken+"\n\x04")
	must(t, err)
	eventually(t, "the connection of an agent whose token was typed", func() bool { return strings.Contains(log.String(), "connected to ") })
	_, err = io.WriteString(screen, "\x03")
	must(t, err)
	if err := cmd.Wait(); err != nil {
		t.Errorf("after Ctrl-C it ended with %v\n%s", err, log.String())
	}
	screen.Close()
	<-read
}

func containedSessions(t *testing.T, client *ssh.Client) {
	if got := run(t, client, "id -u; grep CapEff /proc/self/status; cat /proc/1/comm"); got != "54321\nCapEff:\t0000000000000000\nagent\n" {
		t.Errorf("%q", got)
	}
	// A script with its interpreter runs where nothing can be executed.
	if got := run(t, client, "#!/usr/bin/sh\necho from a script"); got != "from a script\n" {
		t.Errorf("script: %q", got)
	}
	session, err := client.NewSession()
	must(t, err)
	defer session.Close()
	must(t, session.RequestPty("xterm", 24, 80, nil))
	if got, err := session.Output("stty size"); err != nil || string(got) != "24 80\r\n" {
		t.Errorf("terminal: %q, %v", got, err)
	}
	files, err := sftp.NewClient(client)
	must(t, err)
	defer files.Close()
	file, err := files.Create("/tmp/file")
	must(t, err)
	_, err = io.WriteString(file, "content")
	must(t, errors.Join(err, file.Close()))
	if got := run(t, client, "cat /tmp/file"); got != "content" {
		t.Errorf("file: %q", got)
	}
}

// containedZombies leaves processes behind that nobody waits for.
func containedZombies(t *testing.T, client *ssh.Client) {
	run(t, client, `i=0; while [ $i -lt 50 ]; do (setsid sleep 0.1 >/dev/null 2>&1 </dev/null &); i=$((i+1)); done`)
	eventually(t, "all of them to be gone", func() bool {
		return run(t, client, `cat /proc/[0-9]*/stat 2>/dev/null | grep -c '(sleep)'; true`) == "0\n"
	})
}
