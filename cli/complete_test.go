package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/causewayhq/causeway/localapi"
)

// completed is what the shell is offered for a line, without cobra's directive.
func completed(t *testing.T, socket, line string) []string {
	t.Helper()
	var stdout, stderr output
	began := time.Now()
	code := Main(t.Context(), Env{
		Args: append([]string{"causeway", "--socket", socket, "__complete"}, strings.Split(line, " ")...), Stdin: strings.NewReader(""),
		Stdout: &stdout, Stderr: &stderr, LookupEnv: noEnv, Version: "v1.2.3",
	})
	if took := time.Since(began); code != 0 || took > 2*completeLimit {
		t.Errorf("%s: exit code %d after %v, %s", line, code, took, stderr.String())
	}
	words := strings.Fields(stdout.String())
	if len(words) == 0 || !strings.HasPrefix(words[len(words)-1], ":") {
		t.Fatalf("%s: %q", line, stdout.String())
	}
	return words[:len(words)-1]
}

const agentsOffered = "myws.coder gpu.web.me.coder main.web.me.coder"

// completions are every place where a name may stand.
var completions = map[string]string{
	"ssh ":                 agentsOffered,
	"ssh myws ":            "",
	"ping ":                agentsOffered,
	"ports ":               agentsOffered,
	"speedtest ":           agentsOffered,
	"terminals ":           agentsOffered,
	"ssh-known-hosts ":     agentsOffered,
	"open ":                agentsOffered,
	"open myws ":           "web terminal ssh",
	"port-forward ":        agentsOffered,
	"scp ":                 "myws.coder: gpu.web.me.coder: main.web.me.coder:",
	"scp main.w":           "main.web.me.coder:",
	"scp myws.coder:a ./x": "",
	"dns query ":           agentsOffered,
	"status --workspace ":  "myws web",
	"status --check ":      "live ready dns peers",
	"set ":                 "log-level= telemetry= dns-forwarder=",
	"wait --for ":          "connected dns " + agentsOffered + " workspace/myws workspace/web",
}

func TestCompletion(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	serveFake(t, path, "connected")
	for line, want := range completions {
		if got := strings.Join(completed(t, path, line), " "); got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
	if got := completed(t, path, "dns query myws "); len(got) != len(typeNames) {
		t.Errorf("types: %q", got)
	}
}

// TestCompletionKnowsEveryName: no command that says it takes a name is missing
// above.
func TestCompletionKnowsEveryName(t *testing.T) {
	for _, command := range commands(t) {
		if !strings.Contains(command.Use, "<name>") || strings.HasPrefix(command.CommandPath(), "causeway profile") || strings.HasPrefix(command.CommandPath(), "causeway operator") {
			continue
		}
		if _, known := completions[strings.TrimPrefix(command.CommandPath(), "causeway ")+" "]; !known {
			t.Errorf("%s has no completion under test", command.CommandPath())
		}
	}
}

// TestCompletionFailsSilently: without a daemon, with one that does not answer,
// and with somebody else's tunnel nothing is offered, within two seconds.
func TestCompletionFailsSilently(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	listener, err := localapi.Listen(filepath.Join(dir, "stopped"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	serveFake(t, filepath.Join(dir, "summary"), "summary")
	for _, socket := range []string{"nobody", "stopped", "summary"} {
		if got := completed(t, filepath.Join(dir, socket), "ssh "); len(got) != 0 {
			t.Errorf("%s: %q", socket, got)
		}
		if got := strings.Join(completed(t, filepath.Join(dir, socket), "wait --for "), " "); got != "connected dns" {
			t.Errorf("%s: %q", socket, got)
		}
	}
}

// TestCompletionInBash has a real bash complete a line by our script.
func TestCompletionInBash(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("bash is not installed")
	}
	path := filepath.Join(t.TempDir(), "s")
	serveFake(t, path, "connected")
	// What bash does when the Tab key is pressed.
	script := `
# Of the package bash-completion, which may not be installed.
_get_comp_words_by_ref() { words=("${COMP_WORDS[@]}"); cword=$COMP_CWORD; cur=${COMP_WORDS[COMP_CWORD]}; prev=${COMP_WORDS[COMP_CWORD-1]}; }
source <(causeway completion bash)
complete -p causeway >/dev/null || exit 9
COMP_WORDS=(causeway ssh main); COMP_CWORD=2; COMP_LINE="causeway ssh main"; COMP_POINT=${#COMP_LINE}
__start_causeway
echo "${COMPREPLY[@]}"`
	command := exec.Command(bash, "--norc", "-c", script)
	command.Env = append(os.Environ(), "CAUSEWAY_SOCKET="+path)
	out, err := command.Output() // compopt complains: no key was pressed
	if err != nil || strings.TrimSpace(string(out)) != "main.web.me.coder" {
		t.Errorf("bash completes %q, %v", out, err)
	}
}

// TestCompletionScripts: each shell's names the program and comes without errors.
func TestCompletionScripts(t *testing.T) {
	for shell, part := range map[string]string{"bash": "__start_causeway", "zsh": "#compdef causeway", "fish": "complete -c causeway", "powershell": "Register-ArgumentCompleter -CommandName 'causeway'"} {
		var stdout, stderr output
		code := Main(t.Context(), Env{Args: []string{"causeway", "completion", shell}, Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr, LookupEnv: noEnv})
		if code != 0 || stderr.String() != "" || !strings.Contains(stdout.String(), part) {
			t.Errorf("%s: exit code %d, %s", shell, code, stderr.String())
		}
	}
}
