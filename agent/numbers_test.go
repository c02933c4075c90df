package agent

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/causewayhq/causeway/proto/agentv2"
)

// TestNumbers are the protocol's (5.1, 5.6).
func TestNumbers(t *testing.T) {
	if dialFloor != 100*time.Millisecond || sshEnd != 5*time.Second || reportEnd != 5*time.Second || firstForwarded != 9 {
		t.Errorf("dials after %s, SSH ends in %s, reports in %s, forwards from port %d", dialFloor, sshEnd, reportEnd, firstForwarded)
	}
	if !slices.Equal(sshPorts, []uint16{22, 1}) || terminalPort != 2 || speedtestPort != 3 || httpPort != 4 {
		t.Errorf("ports %v, %d, %d, %d", sshPorts, terminalPort, speedtestPort, httpPort)
	}
}

// TestGitVariables: git reaches this program, for passwords only where there are some.
func TestGitVariables(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	a := &agent{config: Config{StateDir: t.TempDir()}}
	plain := a.gitEnvironment(manifest{message: &agentv2.Manifest{}})
	if want := "GIT_SSH_COMMAND=" + quoted(program) + " gitssh --"; !slices.Contains(plain, want) {
		t.Errorf("%q, want %q", plain, want)
	}
	if strings.Contains(strings.Join(plain, " "), "GIT_ASKPASS") {
		t.Errorf("asked for passwords that there are not: %q", plain)
	}
	if with := a.gitEnvironment(manifest{message: &agentv2.Manifest{GitAuthConfigs: 1}}); !slices.Contains(with, "GIT_ASKPASS="+program) {
		t.Errorf("with passwords: %q", with)
	}
	if got := quoted("/a b/it's"); got != `'/a b/it'\''s'` {
		t.Errorf("quoted: %s", got)
	}
}
