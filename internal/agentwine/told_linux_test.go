package agentwine

import (
	"os"
	"strings"
	"testing"
)

// installed goes as far as Wine's task scheduler, which refuses or takes the task;
// the token's file is there either way, and never on a command line.
func installed(t *testing.T, r *rig) {
	install := []string{"install", "--url", r.url.String(), "--token-file", windowsPath(r.tokenFile)}
	said, code := r.windows.said(t, append(install, "--dry-run")...)
	if code != 0 || !strings.Contains(said, `would run C:\windows\system32\schtasks.exe /Create /F /TN \Causeway Agent /XML C:\users\`) {
		t.Errorf("dry run: %d %s", code, said)
	}
	token, err := os.ReadFile(r.tokenFile)
	must(t, err)
	said, code = r.windows.said(t, install...)
	if !strings.Contains(said, `write C:\users\`) || strings.Contains(said, strings.TrimSpace(string(token))) {
		t.Errorf("install: %d %s", code, said)
	}
	t.Logf("install under Wine: %d %s", code, said)
	if said, code := r.windows.said(t, "uninstall"); code != 0 || !strings.Contains(said, `remove C:\users\`) {
		t.Errorf("uninstall: %d %s", code, said)
	}
}

// reported is what the agent does by itself and tells.
func reported(t *testing.T, r *rig) {
	var metadata []struct {
		Result      struct{ Value string }
		Description struct{ Key string }
	}
	eventually(t, "what is measured", func() bool {
		r.call("GET", "/metadata", "", &metadata)
		return len(metadata) == 1 && strings.TrimSpace(metadata[0].Result.Value) == "measured"
	})
	var lines []struct{ Output string }
	eventually(t, "the script's line", func() bool {
		r.call("GET", "/logs", "", &lines)
		for _, line := range lines {
			if strings.TrimSpace(line.Output) == "from a script" {
				return true
			}
		}
		return false
	})
}
