package crashmatrix

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/causewayhq/causeway/internal/testnet"
)

// lookupLimit is how long a public name may take to resolve, at any moment.
const lookupLimit = 5 * time.Second

// askScript looks up public names four times a second as applications do, each
// name once, and never waits for one before it asks for the next.
const askScript = `
one() {
  local began=$EPOCHREALTIME found code
  found=$(timeout 20 getent ahostsv4 "n$1.public.example"); code=$?
  echo "$1 $began $EPOCHREALTIME $code ${found%%[[:space:]]*}" >> /run/host/lookups
}
for ((n = 1; ; n++)); do one $n & sleep 0.25; done
`

// lookup is one that has ended.
type lookup struct {
	began time.Time
	took  time.Duration
	fault string // "" if it was answered right and in time
}

// ask begins to look names up on the host.
func (b *bench) ask(t *testing.T) {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(b.system.Share, "ask.sh"), []byte(askScript), 0o644))
	asker := b.system.Command(t.Context(), "bash", "/run/host/ask.sh")
	must(t, asker.Start())
	b.stopAsking = func() []lookup {
		// The shell that asks is the child of what entered the host. What it
		// has asked goes on to its end.
		child, err := childOf(asker, "bash")
		if err == nil {
			err = child.Kill()
		}
		must(t, err)
		_ = asker.Wait()
		_, err = b.system.Run(within(t, time.Minute), "sh", "-c", "while pgrep -x getent >/dev/null; do sleep 0.1; done")
		must(t, err)
		return readLookups(t, filepath.Join(b.system.Share, "lookups"))
	}
}

// childOf finds the program that a command runs on a system: the only child of
// what enters it, once the program is there under its own name.
func childOf(cmd *exec.Cmd, name string) (*os.Process, error) {
	path := fmt.Sprintf("/proc/%d/task/%d/children", cmd.Process.Pid, cmd.Process.Pid)
	var pid int
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		if _, err := fmt.Sscan(string(text), &pid); err != nil {
			continue
		}
		if comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); err == nil && strings.TrimSpace(string(comm)) == name {
			return os.FindProcess(pid)
		}
	}
	return nil, fmt.Errorf("find %s, child of %s: none within 5 s", name, strings.Join(cmd.Args, " "))
}

func readLookups(t *testing.T, path string) []lookup {
	t.Helper()
	content, err := os.ReadFile(path)
	must(t, err)
	var list []lookup
	for line := range strings.Lines(string(content)) {
		list = append(list, readLookup(t, line))
	}
	return list
}

func readLookup(t *testing.T, line string) lookup {
	t.Helper()
	var number, code int
	var began, ended float64
	var answer string
	// The answer is missing where there was none.
	if count, err := fmt.Sscan(line, &number, &began, &ended, &code, &answer); count < 4 {
		t.Fatalf("read lookup %q: %v", line, err)
	}
	l := lookup{
		began: time.UnixMicro(int64(began * 1e6)),
		took:  time.Duration((ended - began) * float64(time.Second)),
	}
	switch {
	case code != 0:
		l.fault = fmt.Sprintf("getent ended with %d after %v", code, l.took.Round(time.Millisecond))
	case answer != testnet.PublicAddr(number):
		l.fault = fmt.Sprintf("n%d is %s, not %s", number, answer, testnet.PublicAddr(number))
	case l.took > lookupLimit:
		l.fault = fmt.Sprintf("answered after %v", l.took.Round(time.Millisecond))
	}
	return l
}
