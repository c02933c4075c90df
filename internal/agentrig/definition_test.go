//go:build unix

package agentrig

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestConfiguredWhileItRuns gives a running agent its definition: new sessions
// have it within seconds, what is by the clock runs, what is measured arrives, and a
// session that was open goes on. What is for the start runs when the agent starts
// next.
func TestConfiguredWhileItRuns(t *testing.T) {
	r := newRig(t)
	stop := r.startAgent()
	user := r.join()
	client := r.ssh(user)
	if got := run(t, client, "echo [$FROM_DEFINITION]"); got != "[]\n" {
		t.Fatalf("before: %q", got)
	}
	open, err := client.NewSession()
	must(t, err)
	in, err := open.StdinPipe()
	must(t, err)
	out, err := open.StdoutPipe()
	must(t, err)
	must(t, open.Start("cat"))
	lines := bufio.NewReader(out)
	echo := func(line string) {
		t.Helper()
		if _, err := io.WriteString(in, line+"\n"); err != nil {
			t.Fatalf("the open session: %v", err)
		}
		if got, err := lines.ReadString('\n'); err != nil || got != line+"\n" {
			t.Fatalf("the open session answers %q, %v", got, err)
		}
	}
	echo("before")

	work := t.TempDir()
	document := fmt.Sprintf(`version: 1
directory: %[1]s
environment:
  FROM_DEFINITION: defined in $HOME
secrets:
  - {name: s, env: FROM_SECRET, value: raw $HOME}
  - {name: f, file: %[1]s/secrets/file, value: in a file}
scripts:
  - name: clock
    run: echo clock >> %[1]s/clock
    cron: "* * * * * *"
  - name: begin
    run: echo begin >> %[1]s/begin
    on_start: true
metadata:
  - key: greeting
    run: echo hello
    interval: 1s
`, work)
	began := time.Now()
	if status := r.call("PUT", "/definition", document, nil); status != 200 {
		t.Fatalf("put: %d", status)
	}
	want := "defined in " + os.Getenv("HOME") + "/raw $HOME/" + work + "\n"
	eventually(t, "the definition in a new session", func() bool {
		return run(t, client, `echo "$FROM_DEFINITION/$FROM_SECRET/$PWD"`) == want
	})
	took := time.Since(began)
	t.Logf("figure: %.2f s from the change to a session that has it", took.Seconds())
	if took > 10*time.Second {
		t.Errorf("after %s", took)
	}
	echo("after")
	if log := r.agentLog.String(); !strings.Contains(log, "the definition of this agent has changed") || strings.Contains(log, "level=WARN") {
		t.Errorf("the agent says of it:\n%s", log)
	}
	eventually(t, "what runs by the clock", func() bool {
		text, err := os.ReadFile(filepath.Join(work, "clock"))
		return err == nil && strings.HasPrefix(string(text), "clock\n")
	})
	eventually(t, "what is measured", func() bool {
		var measured []struct {
			Result      struct{ Value string }
			Description struct{ Key string }
		}
		r.call("GET", "/metadata", "", &measured)
		return len(measured) == 1 && measured[0].Description.Key == "greeting" && strings.TrimSpace(measured[0].Result.Value) == "hello"
	})
	if content, err := os.ReadFile(filepath.Join(work, "secrets", "file")); err != nil || string(content) != "in a file" {
		t.Errorf("the secret's file: %q, %v", content, err)
	}
	if _, err := os.Stat(filepath.Join(work, "begin")); err == nil {
		t.Error("what is for the start has run without a start")
	}
	must(t, in.Close())
	must(t, open.Wait())

	stop()
	r.startAgent()
	eventually(t, "what runs at the start", func() bool {
		text, err := os.ReadFile(filepath.Join(work, "begin"))
		return err == nil && string(text) == "begin\n"
	})
}
