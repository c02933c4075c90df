//go:build unix

package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// selfVariable makes the test binary be the program.
const selfVariable = "CAUSEWAY_TEST_AS_AGENT"

func TestMain(m *testing.M) {
	if os.Getenv(selfVariable) != "" {
		main()
	}
	os.Exit(m.Run())
}

// program is the real command with an environment of its own.
func program(t *testing.T, environment []string, arguments ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, os.Args[0], arguments...)
	cmd.Env = append([]string{selfVariable + "=1", "HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH"), "GORACE=" + os.Getenv("GORACE")}, environment...)
	cmd.WaitDelay = time.Second
	return cmd
}

func refusing(t *testing.T, status int, body string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestBadInput(t *testing.T) {
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(secure.Close)
	unauthorized := refusing(t, http.StatusUnauthorized, `{"message": "unauthorized"}`)
	browsers := refusing(t, http.StatusUnauthorized, `{"message": "Please sign in again.", "detail": "The token is not known."}`)
	outdated := refusing(t, http.StatusBadRequest, `{"message": "Unknown or unsupported API version", "validations": [{"field": "version", "detail": "behind"}]}`)
	directory := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(directory, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	damaged := filepath.Join(directory, "damaged")
	if err := os.Mkdir(damaged, 0o700); err != nil {
		t.Fatal(err)
	}
	file("damaged/identity.json", "{")
	token := []string{"CAUSEWAY_AGENT_TOKEN=the-secret"}
	tests := []struct {
		name        string
		environment []string
		arguments   []string
		code        int
		says        []string
	}{
		{"unknown command", nil, []string{"rum"}, exitUsage, []string{`unknown command "rum"`}},
		{"unknown flag", nil, []string{"run", "--ulr"}, exitUsage, []string{"--ulr"}},
		{"argument", nil, []string{"run", "x"}, exitUsage, []string{`"x"`}},
		{"no URL", token, []string{"run"}, exitUsage, []string{"--url is missing"}},
		{"URL of another kind", token, []string{"run", "--url", "ftp://host"}, exitUsage, []string{"ftp://host", "https://"}},
		{"URL without host", token, []string{"run", "--url", "host:7080"}, exitUsage, []string{"https://"}},
		{"URL that does not parse", token, []string{"run", "--url", "http://a b:the-secret@%"}, exitUsage, []string{"cannot be parsed"}},
		{"URL with password", token, []string{"run", "--url", "http://a:the-secret@host"}, exitUsage, []string{"want no user"}},
		{"no token", nil, []string{"run", "--url", unauthorized}, exitUsage, []string{"no token", "CAUSEWAY_AGENT_TOKEN", "or give --token-file or --token-command; see causeway-agent run --help"}},
		{"empty token file", nil, []string{"run", "--url", unauthorized, "--token-file", file("empty", "\n")}, exitUsage, []string{"/empty: it is empty"}},
		{"absent token file", nil, []string{"run", "--url", unauthorized, "--token-file", "/causeway/absent"}, exitUsage, []string{"/causeway/absent"}},
		{"token file of another kind", nil, []string{"run", "--url", unauthorized, "--token-file", file("long", strings.Repeat("x", 1<<20))}, exitUsage, []string{"no token has"}},
		{"token with spaces", []string{"CAUSEWAY_AGENT_TOKEN=a b"}, []string{"run", "--url", unauthorized}, exitUsage, []string{"no token has"}},
		{"two tokens", nil, []string{"run", "--url", unauthorized, "--token", "the-secret", "--token-file", "-"}, exitUsage, []string{"exclude"}},
		{"file and command", token, []string{"run", "--url", unauthorized, "--token-file", file("both", "the-secret"), "--token-command", "/bin/cat x"}, exitUsage, []string{"exclude"}},
		{"refused token of a command", nil, []string{"run", "--url", unauthorized, "--token-command", "/bin/cat " + file("token-of-command", "the-secret")}, exitToken, []string{"refuses"}},
		{"token command that fails", nil, []string{"run", "--url", unauthorized, "--token-command", "/bin/cat /causeway/absent the-secret"}, exitToken, []string{"run token command /bin/cat: exit status 1", "by hand"}},
		{"no token command", nil, []string{"run", "--url", unauthorized, "--token-command", "/causeway/absent"}, exitToken, []string{"run token command /causeway/absent: ", "no such file"}},
		{"token command of the search path", nil, []string{"run", "--url", unauthorized, "--token-command", "cat the-secret"}, exitUsage, []string{`--token-command "cat": want the absolute path`, "run --help"}},
		{"log level", token, []string{"run", "--url", unauthorized, "--log-level", "loud"}, exitUsage, []string{"loud"}},
		{"header", token, []string{"run", "--url", unauthorized, "--header", "the-secret"}, exitUsage, []string{"Name: value"}},
		{"switch of SSH", append(token, "CAUSEWAY_AGENT_BLOCK_FILE_TRANSFER=perhaps"), []string{"run", "--url", unauthorized}, exitUsage, []string{"CAUSEWAY_AGENT_BLOCK_FILE_TRANSFER", "perhaps"}},
		{"time of SSH", append(token, "CAUSEWAY_AGENT_SSH_IDLE_TIMEOUT=soon"), []string{"run", "--url", unauthorized}, exitUsage, []string{"CAUSEWAY_AGENT_SSH_IDLE_TIMEOUT", "soon"}},
		{"time below zero", token, []string{"run", "--url", unauthorized, "--ssh-max-session", "-1s"}, exitUsage, []string{"--ssh-max-session"}},
		{"no home", append(token, "HOME="), []string{"run", "--url", unauthorized}, exitUsage, []string{"--state-dir"}},
		{"refused token", token, []string{"run", "--url", unauthorized}, exitToken, []string{"refuses the token", "HTTP 401", "causeway-server agent token OWNER/WORKSPACE/AGENT"}},
		{"refused token, in few words", token, []string{"run", "--url", browsers}, exitToken, []string{"HTTP 401: The token is not known; check"}},
		{"refused token of a file", nil, []string{"run", "--url", unauthorized, "--token-file", file("token", " the-secret\n")}, exitToken, []string{"refuses"}},
		{"refused token of the line", nil, []string{"run", "--url", unauthorized, "--token=the-secret"}, exitToken, []string{"refuses"}},
		{"install without URL", token, []string{"install"}, exitUsage, []string{"--url is missing; see causeway-agent install --help"}},
		{"install without token", nil, []string{"install", "--url", unauthorized}, exitUsage, []string{"or give --token-file; see causeway-agent install --help"}},
		{"install for nobody", token, []string{"install", "--url", unauthorized, "--account", ""}, exitUsage, []string{"see causeway-agent install --help"}},
		{"uninstall for nobody", nil, []string{"uninstall", "--account", ""}, exitUsage, []string{"see causeway-agent uninstall --help"}},
		{"no ssh", nil, []string{"gitssh"}, exitUsage, []string{"see causeway-agent gitssh --help"}},
		{"version", token, []string{"run", "--url", outdated}, exitVersion, []string{"version", "release"}},
		{"certificate", token, []string{"run", "--url", secure.URL}, exitCertificate, []string{"certificate", "SSL_CERT_FILE"}},
		{"state damaged", token, []string{"run", "--url", unauthorized, "--state-dir", damaged}, exitState, []string{damaged, "move the file away"}},
		{"state not a directory", token, []string{"run", "--url", unauthorized, "--state-dir", file("plain", "")}, exitState, []string{"plain"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			cmd := program(t, test.environment, test.arguments...)
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			err := cmd.Run()
			text := stderr.String()
			if code := cmd.ProcessState.ExitCode(); code != test.code {
				t.Errorf("exit code %d (%v), want %d: %s", code, err, test.code, text)
			}
			if strings.Count(text, "\n") != 1 || !strings.HasPrefix(text, "causeway-agent: ") || stdout.Len() > 0 {
				t.Errorf("want one line, got %q and on stdout %q", text, stdout.String())
			}
			for _, want := range test.says {
				if !strings.Contains(text, want) {
					t.Errorf("%q is not in %q", want, text)
				}
			}
			if strings.Contains(text, "the-secret") {
				t.Errorf("a secret is in %q", text)
			}
		})
	}
}

func TestHelpAndVersion(t *testing.T) {
	for _, arguments := range [][]string{{}, {"--help"}, {"run", "--help"}, {"version"}, {"--version"}} {
		text, err := program(t, nil, arguments...).Output()
		if err != nil || len(text) == 0 {
			t.Errorf("%q: %v", arguments, err)
		}
	}
}

// TestInstallHelp is about installing, and not about what the agent does then.
func TestInstallHelp(t *testing.T) {
	text, err := program(t, nil, "install", "--help").Output()
	if err != nil || !bytes.Contains(text, []byte("Exit codes:")) {
		t.Errorf("%v: %s", err, text)
	}
	for _, foreign := range []string{"SIGTERM", "control plane", "state directory", "certificate"} {
		if bytes.Contains(text, []byte(foreign)) {
			t.Errorf("%q is in %s", foreign, text)
		}
	}
}

// TestDeadPort also looks at what other users can see of the process, and at
// its end by a signal.
func TestDeadPort(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	cmd := program(t, []string{"CAUSEWAY_AGENT_TOKEN=older"}, "run", "--token", "the-secret", "--url", "http://"+address)
	stderr := filepath.Join(t.TempDir(), "stderr")
	output, err := os.Create(stderr)
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	cmd.Stderr = output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	read := func() string {
		text, _ := os.ReadFile(stderr)
		return string(text)
	}
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(read(), "no control plane"); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no warning in %q", read())
		}
	}
	if line, err := os.ReadFile("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/cmdline"); err == nil && bytes.Contains(line, []byte("the-secret")) {
		t.Errorf("the token is on the command line: %q", line)
	}
	if environment, err := os.ReadFile("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/environ"); err == nil &&
		(!bytes.Contains(environment, []byte("CAUSEWAY_AGENT_TOKEN=the-secret")) || bytes.Contains(environment, []byte("older"))) {
		t.Error("the token did not move into the environment")
	}
	// More dials fail, in another way, and silently.
	if listener, err = net.Listen("tcp", address); err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	for range 4 {
		conn, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
	started := time.Now()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	err = cmd.Wait()
	var failed *exec.ExitError
	if errors.As(err, &failed) || time.Since(started) > 5*time.Second {
		t.Errorf("SIGTERM: %v after %s", err, time.Since(started))
	}
	if text := read(); strings.Count(text, "\n") != 1 || !strings.Contains(text, address) || strings.Contains(text, "the-secret") {
		t.Errorf("want one warning, got %q", text)
	}
}

func TestWithoutToken(t *testing.T) {
	tests := []struct{ given, want []string }{
		{[]string{"a", "run", "--token", "x", "--url", "u"}, []string{"a", "run", "--url", "u"}},
		{[]string{"a", "--token=x", "run"}, []string{"a", "run"}},
		{[]string{"a", "run", "--token-file", "f", "--token"}, []string{"a", "run", "--token-file", "f"}},
	}
	for _, test := range tests {
		if got := withoutToken(test.given); !slices.Equal(got, test.want) {
			t.Errorf("%q: got %q", test.given, got)
		}
	}
}
