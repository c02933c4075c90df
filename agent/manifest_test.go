package agent

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/proto/agentv2"
)

func TestBadManifest(t *testing.T) {
	id := uuid.New()
	for name, message := range map[string]*agentv2.Manifest{
		"nil": nil, "no id": {}, "short id": {AgentId: id[:15]}, "zero id": {AgentId: make([]byte, 16)},
		"short workspace id": {AgentId: id[:], WorkspaceId: []byte{1}},
	} {
		if _, err := readManifest(message); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("BASE", "base")
	id := uuid.New()
	m, err := readManifest(&agentv2.Manifest{
		AgentId: id[:], WorkspaceId: id[:], AgentName: "main", WorkspaceName: "myws", OwnerUsername: "alice",
		VsCodePortProxyUri: "https://{{port}}.example.com",
		EnvironmentVariables: map[string]string{
			"EXPANDED": "$BASE/${BASE}/$CAUSEWAY_TEST_UNSET", "": "nameless", "A=B": "bad", "NUL": "a\x00b", "CODER": "overridden",
		},
		Secrets: []*agentv2.WorkspaceSecret{{EnvName: "RAW", Value: []byte("$BASE")}, {FilePath: "/x", Value: []byte("file")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", "/usr/bin:/bin")
	a := &agent{tokens: tokens{last: "secret"}, config: Config{StateDir: "/state"}, manifest: m}
	want := []string{
		"CODER=true", "CODER_WORKSPACE_NAME=myws", "CODER_WORKSPACE_AGENT_NAME=main", "CODER_WORKSPACE_OWNER_NAME=alice",
		"CODER_WORKSPACE_ID=" + id.String(), "CODER_AGENT_TOKEN=secret", "CS_DISABLE_GETTING_STARTED_OVERRIDE=true",
		"VSCODE_PROXY_URI=https://{{port}}.example.com", "CODER=overridden", "EXPANDED=base/base/", "RAW=$BASE",
		"PATH=/state/bin:/usr/bin:/bin",
	}
	ofGit := func(variable string) bool { return strings.Contains(variable, "GIT_") }
	if got := slices.DeleteFunc(a.environment(), ofGit); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	a.manifest.message.EnvironmentVariables["PATH"] = "/opt:$PATH"
	if got := a.environment(); got[len(got)-1] != "PATH=/state/bin:/opt:/usr/bin:/bin" {
		t.Errorf("the path is %q", got[len(got)-1])
	}
	if text := fmt.Sprintf("%v %s %+v", a.tokens.last, a.tokens.last, a.config); strings.Contains(text, "secret") {
		t.Errorf("the token prints: %s", text)
	}
}

func TestDirectory(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("PROJECT", "/srv/project")
	for given, want := range map[string]string{
		"": home, "~": home, "~/src": filepath.Join(home, "src"), "src": filepath.Join(home, "src"),
		"/srv/x/": "/srv/x", "$PROJECT/y": "/srv/project/y", "$HOME": home, "~other": filepath.Join(home, "~other"),
	} {
		a := &agent{manifest: manifest{message: &agentv2.Manifest{Directory: given}}}
		if got := a.directory(); got != want {
			t.Errorf("%q: got %q, want %q", given, got, want)
		}
	}
}
