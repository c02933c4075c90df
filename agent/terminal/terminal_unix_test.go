//go:build unix

package terminal

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

func begin(t *testing.T, size Size, line string) *Terminal {
	t.Helper()
	terminal, err := Start(exec.Command("/bin/sh", "-c", line), size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		terminal.Kill()
		terminal.Close()
		<-terminal.Done()
	})
	return terminal
}

func readAll(t *testing.T, terminal *Terminal) string {
	t.Helper()
	output, err := io.ReadAll(terminal)
	if err != nil {
		t.Fatal(err)
	}
	return string(output)
}

// gone waits until no process has the number, or fails.
func gone(t *testing.T, pid int) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(poll) {
		if _, lives := processes()[pid]; !lives {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("process %d lives", pid)
		}
	}
}

func TestExit(t *testing.T) {
	for line, want := range map[string]exit{
		"exit 0": {0, ""}, "exit 7": {7, ""}, "exit 255": {255, ""}, "kill -TERM $$": {-1, "TERM"}, "kill -9 $$": {-1, "KILL"},
	} {
		terminal := begin(t, Size{}, line)
		readAll(t, terminal)
		<-terminal.Done()
		if code, signal := terminal.Exit(); code != want.code || signal != want.signal {
			t.Errorf("%s: got %d %q", line, code, signal)
		}
	}
}

func TestNoSuchProgram(t *testing.T) {
	for _, path := range []string{"/no/such/program", "no-such-program"} {
		if _, err := Start(exec.Command(path), Size{}); err == nil || !strings.Contains(err.Error(), "no-such-program") && !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestSizeAndResize(t *testing.T) {
	terminal := begin(t, Size{Columns: 100, Rows: 30, XPixels: 5, YPixels: 6}, "stty size; read line; stty size")
	reader := bufio.NewReader(terminal)
	if line, _ := reader.ReadString('\n'); line != "30 100\r\n" {
		t.Errorf("first: %q", line)
	}
	if err := terminal.Resize(Size{Columns: 7, Rows: 8}); err != nil {
		t.Fatal(err)
	}
	if _, err := terminal.Write([]byte("\n")); err != nil {
		t.Fatal(err)
	}
	rest, _ := io.ReadAll(reader)
	if !strings.Contains(string(rest), "8 7\r\n") {
		t.Errorf("then: %q", rest)
	}
}

func TestDefaultSize(t *testing.T) {
	if output := readAll(t, begin(t, Size{}, "stty size")); output != "80 80\r\n" {
		t.Errorf("got %q", output)
	}
}

// All output arrives although the command ends right after it, and although a
// process in the background keeps the terminal open.
func TestOutputIsWhole(t *testing.T) {
	output := readAll(t, begin(t, Size{}, "trap '' HUP; sleep 300 & seq 20000"))
	if lines := strings.Count(output, "\r\n"); lines != 20000 || !strings.HasSuffix(output, "20000\r\n") {
		t.Errorf("%d lines, ends %q", lines, output[max(0, len(output)-20):])
	}
}

// The tree below has members in another job, in another session, one that
// ignores the hang-up, and one that is stopped.
func TestKillEndsTheWholeTree(t *testing.T) {
	for name, end := range map[string]func(*Terminal){
		"kill":   (*Terminal).Kill,
		"end":    func(terminal *Terminal) { terminal.End(50 * time.Millisecond) },
		"closed": func(terminal *Terminal) { terminal.Close(); terminal.Kill() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			terminal := begin(t, Size{}, `set -m
sleep 301 & echo $!
sh -c 'trap "" HUP TERM; echo $$; while :; do sleep 302; done' &
sh -c 'setsid sh -c "echo \$\$; sleep 303"; true' & sleep 0.5
sleep 304 & kill -STOP $!; echo $!
echo $$ end
wait; sleep 305`)
			var pids []int
			lines := bufio.NewScanner(terminal)
			for lines.Scan() && !strings.Contains(lines.Text(), "end") {
				var pid int
				for _, digit := range lines.Bytes() {
					if digit >= '0' && digit <= '9' {
						pid = pid*10 + int(digit-'0')
					}
				}
				pids = append(pids, pid)
			}
			if len(pids) < 4 {
				t.Fatalf("processes: %v", pids)
			}
			end(terminal)
			for _, pid := range append(pids, terminal.pid) {
				gone(t, pid)
			}
			<-terminal.Done()
		})
	}
}

// A shell that hears the hang-up has time to tidy up.
func TestEndLetsTidyUp(t *testing.T) {
	path := t.TempDir() + "/tidy"
	terminal := begin(t, Size{}, "trap 'sleep 0.2; echo done >"+path+"; exit 3' HUP; echo ready; while :; do sleep 0.05; done")
	if line, _ := bufio.NewReader(terminal).ReadString('\n'); line != "ready\r\n" {
		t.Fatalf("got %q", line)
	}
	terminal.End(patience)
	<-terminal.Done()
	if code, _ := terminal.Exit(); code != 3 {
		t.Errorf("exit %d", code)
	}
	if content, err := os.ReadFile(path); err != nil || !bytes.Equal(content, []byte("done\n")) {
		t.Errorf("%q, %v", content, err)
	}
}

// A process that was never of the terminal is left alone, even when it has the
// number of one that was.
func TestKillLeavesOthersAlone(t *testing.T) {
	other := exec.Command("sleep", "300")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = other.Process.Kill()
		_ = other.Wait()
	}()
	reaped := make(chan struct{})
	close(reaped)
	f := family{leader: other.Process.Pid, reaped: reaped, members: map[int]uint64{other.Process.Pid: 1}}
	f.kill()
	if err := unix.Kill(other.Process.Pid, 0); err != nil {
		t.Error(err)
	}
	if _, lives := processes()[other.Process.Pid]; !lives {
		t.Error("killed")
	}
}

// A command that reads nothing blocks a write, until the terminal is closed.
func TestCloseEndsWrite(t *testing.T) {
	terminal := begin(t, Size{}, "stty raw -echo; echo ready; sleep 300")
	if line, _ := bufio.NewReader(terminal).ReadString('\n'); !strings.HasPrefix(line, "ready") {
		t.Fatalf("got %q", line)
	}
	failed := make(chan error, 1)
	go func() {
		_, err := terminal.Write(make([]byte, 1<<20))
		failed <- err
	}()
	select {
	case err := <-failed:
		t.Fatalf("written: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	terminal.Close()
	if err := <-failed; err == nil {
		t.Error("no error")
	}
}
