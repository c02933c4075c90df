package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// asServer in the environment makes the test binary the program itself.
const asServer = "RUN_AS_CAUSEWAY_SERVER"

func TestMain(m *testing.M) {
	if os.Getenv(asServer) != "" {
		packaged(os.Getenv(asPackaged))
		main()
		return
	}
	os.Exit(m.Run())
}

// asPackaged in the environment is where the packaged server's data is.
const asPackaged = "TEST_PACKAGED_DATA_DIR"

type result struct {
	code           int
	stdout, stderr string
}

func command(t *testing.T, env []string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append([]string{asServer + "=1", "HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH"), "GORACE=" + os.Getenv("GORACE")}, env...)
	return cmd
}

// cli runs one invocation to its end.
func cli(t *testing.T, env []string, args ...string) result {
	t.Helper()
	return finish(t, command(t, env, args...))
}

func finish(t *testing.T, cmd *exec.Cmd) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// ok runs an invocation that must succeed and gives its output.
func ok(t *testing.T, args ...string) string {
	t.Helper()
	got := cli(t, nil, args...)
	if got.code != 0 || got.stderr != "" {
		t.Fatalf("%v: exit %d\n%s%s", args, got.code, got.stdout, got.stderr)
	}
	return got.stdout
}

// running is a server in a process of its own.
type running struct {
	t      *testing.T
	cmd    *exec.Cmd
	url    string
	stdout *lines
	stderr *lines
	ended  chan error
	once   sync.Once
	err    error
}

type lines struct {
	mu   sync.Mutex
	list []string
}

func (l *lines) add(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, line)
}

func (l *lines) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.list...)
}

// start runs a server until the test ends; it returns when it answers.
func start(t *testing.T, dir string, args ...string) *running {
	t.Helper()
	args = append([]string{"run", "--data-dir", dir, "--listen", "127.0.0.1:0", "--stun-listen", "127.0.0.1:0"}, args...)
	r := &running{t: t, cmd: command(t, nil, args...), stdout: &lines{}, stderr: &lines{}, ended: make(chan error, 1)}
	var readers sync.WaitGroup
	for _, pipe := range []struct {
		open func() (io.ReadCloser, error)
		into *lines
	}{{r.cmd.StdoutPipe, r.stdout}, {r.cmd.StderrPipe, r.stderr}} {
		from, err := pipe.open()
		if err != nil {
			t.Fatal(err)
		}
		readers.Go(func() {
			for scanner := bufio.NewScanner(from); scanner.Scan(); {
				pipe.into.add(scanner.Text())
			}
		})
	}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		readers.Wait()
		r.ended <- r.cmd.Wait()
	}()
	t.Cleanup(func() { r.stop() })
	wait(t, "URL of the server", func() bool {
		for _, line := range r.stdout.all() {
			if url, found := strings.CutPrefix(line, "URL:"); found {
				r.url = strings.TrimSpace(url)
			}
		}
		return r.url != ""
	})
	wait(t, "readiness", func() bool {
		response, err := http.Get(r.url + "/readyz")
		if err != nil {
			return false
		}
		response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	return r
}

// stop sends SIGTERM and gives how the process ended.
func (r *running) stop() error {
	r.once.Do(func() {
		_ = r.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case r.err = <-r.ended:
		case <-time.After(20 * time.Second):
			r.cmd.Process.Kill()
			r.err = errors.New("did not stop in time")
		}
	})
	return r.err
}

func wait(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !condition(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// TestFirstSteps walks the way of a newcomer, by the commands that each step prints.
func TestFirstSteps(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	server := start(t, dir)
	checkStart(t, server, "causeway-server --data-dir "+dir+" agent create alice/myws/main --with-user   # names of your choice")

	if got := cli(t, nil, "agent", "create", "alice/my--ws/main", "--with-user", "--data-dir", dir); got.code != exitUsage {
		t.Errorf("a bad name: %+v", got)
	}
	if out := ok(t, "user", "list", "--data-dir", dir); strings.Contains(out, "alice") {
		t.Errorf("a bad workspace name left the user behind:\n%s", out)
	}
	out := ok(t, "agent", "create", "alice/myws/main", "--with-user", "--data-dir", dir)
	token := regexp.MustCompile(`cwu_[a-z2-7_]+`).FindString(out)
	if token == "" || !strings.Contains(out, "On the desktop (with sudo, if you did not install Causeway there): causeway login "+server.url+" --up") {
		t.Fatalf("agent create --with-user printed:\n%s", out)
	}
	if out := ok(t, "agent", "create", "alice/myws/other", "--with-user", "--data-dir", dir); strings.Contains(out, "cwu_") {
		t.Errorf("a user who is there got another token:\n%s", out)
	}
	if out := ok(t, "workspace", "create", "alice/second", "--data-dir", dir); !strings.Contains(out, "agent create alice/second/main") {
		t.Errorf("workspace create printed:\n%s", out)
	}
	if out := ok(t, "user", "create", "bob", "--data-dir", dir); !strings.Contains(out, "agent create bob/myws/main --with-user") {
		t.Errorf("user create printed:\n%s", out)
	}
	if !regexp.MustCompile(`(?m)^\s*causeway-agent run --url ` + regexp.QuoteMeta(server.url) + ` --token cwa_[a-z2-7_]+$`).MatchString(out) {
		t.Errorf("agent create printed:\n%s", out)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.url+"/api/v2/workspaces", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Coder-Session-Token", token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); err != nil || response.StatusCode != 200 || !strings.Contains(string(body), `"name":"main"`) {
		t.Errorf("workspaces: %d %s %v", response.StatusCode, body, err)
	}
	if out := ok(t, "health", "--data-dir", dir); !strings.Contains(out, server.url) {
		t.Errorf("health printed %q", out)
	}
	if err := server.stop(); err != nil {
		t.Errorf("stopped with %v", err)
	}
	if got := cli(t, nil, "health", "--data-dir", dir); got.code != exitNotRunning {
		t.Errorf("health of a stopped server: %+v", got)
	}
	// The next start knows that there is a user.
	second := start(t, dir)
	checkStart(t, second, "causeway login "+second.url+" --up   # on a desktop; with sudo, if you did not install Causeway there")
}

// checkStart counts the lines of a start: at most ten, the URL and the next
// command last, nothing on stderr.
func checkStart(t *testing.T, server *running, next string) {
	t.Helper()
	stdout, stderr := server.stdout.all(), server.stderr.all()
	if len(stdout)+len(stderr) > 10 || len(stderr) != 0 {
		t.Errorf("start printed %d and %d lines:\n%s\n%s", len(stdout), len(stderr), strings.Join(stdout, "\n"), strings.Join(stderr, "\n"))
	}
	if len(stdout) < 2 || stdout[len(stdout)-2] != "URL:  "+server.url || stdout[len(stdout)-1] != "Next: "+next {
		t.Errorf("last lines:\n%s\nwant the URL and %q", strings.Join(stdout, "\n"), next)
	}
}

func TestBackupAndRestore(t *testing.T) {
	dir, backup := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "backup.db")
	server := start(t, dir)
	ok(t, "user", "create", "alice", "--data-dir", dir)
	ok(t, "backup", backup, "--data-dir", dir)
	ok(t, "user", "create", "later", "--data-dir", dir)
	if got := cli(t, nil, "backup", backup, "--data-dir", dir); got.code != exitExists || !strings.Contains(got.stderr, backup) {
		t.Errorf("backup over a file: %+v", got)
	}
	if got := cli(t, nil, "restore", backup, "--data-dir", dir); got.code != exitDatabase || !strings.Contains(got.stderr, "in use by another causeway-server (pid ") {
		t.Errorf("restore under a running server: %+v", got)
	}
	if err := server.stop(); err != nil {
		t.Fatal(err)
	}
	if out := ok(t, "restore", backup, "--data-dir", dir); !strings.Contains(out, "kept as") {
		t.Errorf("restore printed %q", out)
	}
	start(t, dir)
	var users struct {
		Version int
		Users   []struct{ Name string }
	}
	if err := json.Unmarshal([]byte(ok(t, "user", "list", "--json", "--data-dir", dir)), &users); err != nil {
		t.Fatal(err)
	}
	if users.Version != outputVersion || len(users.Users) != 1 || users.Users[0].Name != "alice" {
		t.Errorf("users after the restore: %+v", users)
	}
}

// TestJSON holds the version and the members of every JSON output.
func TestJSON(t *testing.T) {
	dir := t.TempDir()
	if got := cli(t, nil, "user", "create", "first", "--create", "--data-dir", dir); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	tests := []struct {
		args    string
		members []string
	}{
		{"user create alice --email a@example.com", []string{"user", "token", "token_id"}},
		{"user list", []string{"users"}},
		{"token create alice --lifetime 1h --name ci", []string{"token", "id", "expires_at"}},
		{"token list alice", []string{"tokens"}},
		{"user code alice", []string{"user", "code", "expires_at"}},
		{"workspace create alice/myws", []string{"workspace"}},
		{"workspace list", []string{"workspaces"}},
		{"workspace list alice", []string{"workspaces"}},
		{"agent create alice/myws/main --url https://causeway.example.com", []string{"agent", "token", "token_id", "url", "command"}},
		{"agent token alice/myws/main", []string{"agent", "token", "token_id", "url", "command"}},
		{"agent list alice", []string{"agents"}},
	}
	for _, test := range tests {
		out := ok(t, append(strings.Fields(test.args), "--json", "--data-dir", dir)...)
		var body map[string]any
		if err := json.Unmarshal([]byte(out), &body); err != nil {
			t.Fatalf("%s: %v in %s", test.args, err, out)
		}
		if body["version"] != float64(outputVersion) || len(body) != len(test.members)+1 {
			t.Errorf("%s: %v", test.args, body)
		}
		for _, member := range test.members {
			if _, found := body[member]; !found {
				t.Errorf("%s: no %q in %v", test.args, member, body)
			}
		}
	}
	for _, list := range []string{"user list", "token list alice", "workspace list", "agent list"} {
		out := ok(t, append(strings.Fields(list), "--data-dir", dir)...)
		if !strings.Contains(out, "ID") || strings.Contains(out, "cwu_") || strings.Contains(out, "cwa_") {
			t.Errorf("%s printed:\n%s", list, out)
		}
	}
	token := strings.TrimSpace(ok(t, "token", "create", "alice", "--data-dir", dir))
	if !regexp.MustCompile(`^cwu_[a-z2-7]{16}_[a-z2-7]{52}$`).MatchString(token) {
		t.Errorf("token create printed %q", token)
	}
	id := strings.Split(token, "_")[1]
	ok(t, "token", "revoke", id, "--data-dir", dir)
	if got := cli(t, nil, "token", "revoke", id, "--data-dir", dir); got.code != exitNotFound {
		t.Errorf("second revocation: %+v", got)
	}
	for _, deletion := range []string{"agent delete alice/myws/main", "workspace delete ALICE/myws", "user delete alice"} {
		ok(t, append(strings.Fields(deletion), "--data-dir", dir)...)
		if got := cli(t, nil, append(strings.Fields(deletion), "--data-dir", dir)...); got.code != exitNotFound {
			t.Errorf("second %s: %+v", deletion, got)
		}
	}
}

func TestEnvironment(t *testing.T) {
	fromEnv, fromFlag := t.TempDir(), t.TempDir()
	env := []string{"CAUSEWAY_SERVER_DATA_DIR=" + fromEnv}
	if got := cli(t, env, "user", "create", "env", "--create"); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	if got := cli(t, env, "user", "list", "--data-dir", fromFlag); got.code != exitNotFound || !strings.Contains(got.stderr, fromFlag) {
		t.Errorf("the flag does not win: %+v", got)
	}
	if got := cli(t, env, "user", "list"); !strings.Contains(got.stdout, "env") {
		t.Errorf("the environment is not read: %+v", got)
	}
	bad := append(env, "CAUSEWAY_SERVER_LIFETIME=soon")
	if got := cli(t, bad, "token", "create", "env"); got.code != exitUsage || !strings.Contains(got.stderr, "CAUSEWAY_SERVER_LIFETIME") {
		t.Errorf("bad value: %+v", got)
	}
	for _, test := range []struct {
		variable, say string
		code          int
	}{
		{"CAUSEWAY_SERVER_RELAYS=https://relay.example.com:99999", "use setting CAUSEWAY_SERVER_RELAYS: parse", exitSetting},
		{"CAUSEWAY_SERVER_STUN_SERVERS=nowhere", "use setting CAUSEWAY_SERVER_STUN_SERVERS: parse", exitSetting},
		{"CAUSEWAY_SERVER_ACCESS_URL=nowhere", "use setting CAUSEWAY_SERVER_ACCESS_URL: ", exitSetting},
		{"CAUSEWAY_SERVER_LOG_LEVEL=loud", "use setting CAUSEWAY_SERVER_LOG_LEVEL: ", exitSetting},
		{"CAUSEWAY_SERVER_STUN_LISTEN=nowhere", "choose another with CAUSEWAY_SERVER_STUN_LISTEN", exitListen},
	} {
		got := cli(t, append(env, test.variable), "run", "--listen", "127.0.0.1:0")
		if got.code != test.code || !strings.Contains(got.stderr, test.say) || strings.Contains(got.stderr, "--") {
			t.Errorf("%s: %+v", test.variable, got)
		}
	}
	if got := cli(t, append(env, "CAUSEWAY_SERVER_RELAYS=https://relay.example.com"), "run", "--relays", "nowhere"); !strings.Contains(got.stderr, "use setting --relays: ") {
		t.Errorf("a flag before its variable: %+v", got)
	}
}

func TestHelp(t *testing.T) {
	root := (&app{stdout: io.Discard, stderr: io.Discard, environment: os.LookupEnv}).root()
	help := ok(t, "--help")
	for _, part := range []string{"Exit codes:", "run", "backup", "CAUSEWAY_SERVER_DATA_DIR", "causeway-server user create alice"} {
		if !strings.Contains(help, part) {
			t.Errorf("help does not have %q", part)
		}
	}
	for _, command := range root.Commands() {
		if command.Short == "" || command.HasSubCommands() && command.Example == "" {
			t.Errorf("%s has no description or example", command.CommandPath())
		}
	}
	for _, form := range []string{"version", "--version"} {
		if out := ok(t, form); !strings.HasPrefix(out, "causeway-server "+version) {
			t.Errorf("%s printed %q", form, out)
		}
	}
}
