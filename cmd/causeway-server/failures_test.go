package main

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestFailures holds the message and the exit code of everything that can be
// wrong: what, where and the remedy on stderr, nothing on stdout.
func TestFailures(t *testing.T) {
	dir := t.TempDir()
	first := cli(t, nil, "user", "create", "alice", "--create", "--data-dir", dir)
	if first.code != 0 || first.stderr != "causeway-server: created a new database: "+filepath.Join(dir, "server.db")+"\n" {
		t.Fatalf("the first user of all: %+v", first)
	}
	ok(t, "user", "create", "bob", "--data-dir", dir)
	ok(t, "workspace", "create", "alice/made", "--data-dir", dir)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	takenUDP, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer takenUDP.Close()
	file := filepath.Join(t.TempDir(), "file")
	corrupt := t.TempDir()
	for _, path := range []string{file, filepath.Join(corrupt, "server.db")} {
		if err := os.WriteFile(path, []byte(strings.Repeat("not a database ", 100)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	served := filepath.Join(t.TempDir(), "served")
	start(t, served)
	runArgs := "run --listen 127.0.0.1:0 --stun-listen off "
	tests := []struct {
		name, args string
		code       int
		text       []string
	}{
		{"unknown command", "serve", exitUsage, []string{`unknown command "serve"`, "--help"}},
		{"unknown subcommand", "user make alice", exitUsage, []string{`unknown command "make"`, "--help"}},
		{"group alone", "user", exitUsage, []string{"create", "list", "delete"}},
		{"unknown flag", "run --no-such-flag", exitUsage, []string{"--no-such-flag", "--help"}},
		{"missing argument", "user create", exitUsage, []string{"run causeway-server user create: the argument NAME is missing\nSee: causeway-server user create --help\n"}},
		{"missing arguments", "git set --username al", exitUsage, []string{"the arguments USER and HOST are missing\nSee: causeway-server git set --help\n"}},
		{"missing list", "banner set", exitUsage, []string{"the argument MESSAGE is missing\nSee: causeway-server banner set --help\n"}},
		{"missing file", "agent configure --check", exitUsage, []string{"agent configure: the argument FILE is missing\nSee: causeway-server agent configure --help\n"}},
		{"arguments too many", "agent list alice bob", exitUsage, []string{"2 arguments were given, and it takes 1: [USER]\nSee: causeway-server agent list --help\n"}},
		{"argument to none", "user list alice", exitUsage, []string{"run causeway-server user list: it takes no argument", "See: causeway-server user list --help\n"}},
		{"flag of another", "agent status --follow", exitUsage, []string{"unknown flag: --follow\nSee: causeway-server agent status --help\n"}},
		{"command of a group", "agent statsu", exitUsage, []string{`"statsu"`, "See: causeway-server agent --help\n"}},
		{"no such command", "agents", exitUsage, []string{`unknown command "agents" for "causeway-server"`, "See: causeway-server --help\n"}},
		{"bad duration", "token create alice --lifetime soon", exitUsage, []string{"soon"}},
		{"negative duration", "token create alice --lifetime -1h", exitUsage, []string{"negative"}},
		{"bad path", "workspace create alice", exitUsage, []string{"USER/WORKSPACE"}},
		{"empty part", "agent create alice//main", exitUsage, []string{"USER/WORKSPACE/AGENT"}},
		{"bad agent", "agent create nobody/none/My.WS", exitUsage, []string{`agent name "My.WS" is not valid: character '.'`, "See: causeway-server agent create --help"}},
		{"bad workspace", "workspace create nobody/-x", exitUsage, []string{`workspace name "-x" is not valid`}},
		{"bad name", "user create a--b", exitUsage, []string{`"a--b"`, "double hyphen"}},
		{"me", "user create me", exitUsage, []string{`"me"`, "choose another name"}},
		{"taken name", "user create ALICE", exitExists, []string{`"ALICE"`, "already exists", "Choose another name"}},
		{"no such user", "token create nobody", exitNotFound, []string{`"nobody"`, "not found", dir + " user list"}},
		{"no such workspace", "agent create alice/none/main", exitNotFound, []string{`"none"`, "not found", dir + " workspace list alice; to create what is missing too, add --with-user\n"}},
		{"nobody's agent", "agent create nobody/none/main", exitNotFound, []string{`"nobody"`, "not found", dir + " user list; to create what is missing too, add --with-user\n"}},
		{"nobody's agent in JSON", "agent create nobody/none/main --json", exitNotFound, []string{"begin with user create and workspace create\n"}},
		{"near user", "token list alcie", exitNotFound, []string{"did you mean alice? The users that there are: "}},
		{"near workspace", "agent create alice/Mad/main", exitNotFound, []string{"did you mean alice/made? The workspaces that there are: "}},
		{"no such agent", "agent token alice/made/none", exitNotFound, []string{`"none"`, "not found", dir + " agent list alice"}},
		{"password of nobody", "user password nobody --stdin", exitNotFound, []string{`"nobody"`, dir + " user list"}},
		{"code of nobody", "user code nobody", exitNotFound, []string{`"nobody"`, dir + " user list"}},
		{"password without a terminal", "user password alice", exitUsage, []string{"no terminal", "--stdin\nSee: causeway-server user password --help\n"}},
		{"no password", "user password alice --stdin", exitUsage, []string{"0 characters; use 12 or more"}},
		{"user without the password", "user create carol --password-stdin", exitUsage, []string{"0 characters; use 12 or more"}},
		{"no backup", "restore " + filepath.Join(dir, "none"), exitNotFound, []string{filepath.Join(dir, "none")}},
		{"backup is none", "restore " + file, exitDatabase, []string{file, "damaged or not a causeway-server database"}},
		{"backup of nothing", "backup " + file + ".new --data-dir " + file + ".none", exitNotFound, []string{file + ".none"}},
		{"HTTP address taken", "run --stun-listen off --listen " + taken.Addr().String(), exitListen, []string{taken.Addr().String(), "address already in use", "--listen"}},
		{"STUN address taken", "run --listen 127.0.0.1:0 --stun-listen " + takenUDP.LocalAddr().String(), exitListen, []string{takenUDP.LocalAddr().String(), "address already in use", "--stun-listen"}},
		{"not an address", "run --listen nowhere", exitListen, []string{"nowhere", "--listen"}},
		{"access URL without scheme", runArgs + "--access-url causeway.example.com", exitSetting, []string{"--access-url", "http:// or https://"}},
		{"access URL with a path", runArgs + "--access-url https://causeway.example.com/x", exitSetting, []string{"--access-url", "scheme, host and port only"}},
		{"certificate alone", runArgs + "--tls-cert " + file, exitSetting, []string{"--tls-key"}},
		{"certificate is none", runArgs + "--tls-cert " + file + " --tls-key " + file, exitSetting, []string{"--tls-cert", file}},
		{"proxy of no address", runArgs + "--trusted-proxies nginx", exitSetting, []string{"--trusted-proxies", "127.0.0.1 or 10.0.0.0/8"}},
		{"everybody a proxy", runArgs + "--trusted-proxies 0.0.0.0/0", exitSetting, []string{"--trusted-proxies", "everybody"}},
		{"log level", runArgs + "--log-level loud", exitSetting, []string{"--log-level", "loud"}},
		{"log format", runArgs + "--log-format xml", exitSetting, []string{"--log-format", "xml"}},
		{"data directory is a file", runArgs + "--data-dir " + file, exitDatabase, []string{file, "not a directory"}},
		{"corrupt database", runArgs + "--data-dir " + corrupt, exitDatabase, []string{filepath.Join(corrupt, "server.db"), "causeway-server restore FILE"}},
		{"data directory in use", runArgs + "--data-dir " + served, exitDatabase, []string{served, "in use by another causeway-server (pid ", "--data-dir"}},
		{"access URL with no such port", runArgs + "--access-url https://causeway.example.com:99999", exitSetting, []string{"--access-url", "a port from 1 to 65535"}},
		{"relay with no such port", runArgs + "--relays https://relay.example.com:99999", exitSetting, []string{"--relays", "https://relay.example.com:99999", "port 99999 does not exist; want 1 to 65535"}},
		{"a relay twice", runArgs + "--relays https://relay.example.com,https://relay.example.com/", exitSetting, []string{"--relays", "relay.example.com:443, which is named already; name each relay once"}},
		{"health of no server", "health --url http://" + deadAddress(t), exitNotRunning, []string{"connection refused", "causeway-server run, or give its URL with --url"}},
		{"peers of no server", "debug peers --url http://" + deadAddress(t), exitNotRunning, []string{"connection refused", "causeway-server run, or give its URL with --url"}},
		{"health of no URL", "health --url foo", exitUsage, []string{`--url "foo"`, "want http:// or https:// and a host"}},
		{"peers of no URL", "debug peers --url foo", exitUsage, []string{`--url "foo"`, "want http:// or https:// and a host"}},
		{"peers of a URL without host", "debug peers --url http://", exitUsage, []string{"want http:// or https:// and a host"}},
		{"no such token", "token revoke nope", exitNotFound, []string{`"nope"`, "not found", "token list USER"}},
		{"health never ran", "health", exitNotRunning, []string{"never run"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			args := strings.Fields(test.args)
			if !strings.Contains(test.args, "--data-dir") {
				args = append(args, "--data-dir", dir)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			cmd := exec.CommandContext(ctx, os.Args[0], args...)
			cmd.Env = []string{asServer + "=1", "HOME=" + t.TempDir()}
			got := finish(t, cmd)
			if got.code != test.code || got.stdout != "" {
				t.Errorf("exit %d, want %d\nstdout %q\nstderr %q", got.code, test.code, got.stdout, got.stderr)
			}
			for _, part := range test.text {
				if !strings.Contains(got.stderr, part) {
					t.Errorf("stderr %q does not say %q", got.stderr, part)
				}
			}
			if strings.Count(got.stderr, "\n") > 2 {
				t.Errorf("more than one message:\n%s", got.stderr)
			}
		})
	}
	if content, err := os.ReadFile(filepath.Join(corrupt, "server.db")); err != nil || !strings.HasPrefix(string(content), "not a database") {
		t.Errorf("the corrupt database was changed: %v", err)
	}
}

func deadAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// TestNoDatabase: commands on what is in a database make none, and ask whether
// it is the right place.
func TestNoDatabase(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none")
	for _, args := range []string{
		"user list", "user list --json", "user delete alice", "token list alice", "token create alice", "token revoke x",
		"user create alice", "agent create alice/myws/main --with-user", "health", "backup /nowhere/backup", "debug peers",
		"workspace list", "workspace create alice/myws", "agent list", "agent create alice/myws/main", "agent token alice/myws/main",
	} {
		got := cli(t, nil, append(strings.Fields(args), "--data-dir", dir)...)
		if got.code != exitNotFound || got.stdout != "" || !strings.Contains(got.stderr, "no database in "+dir+"; the server runs as another user or with another --data-dir?") {
			t.Errorf("%s: %+v", args, got)
		}
	}
	if got := cli(t, nil, "user", "create", "a--b", "--data-dir", dir); got.code != exitUsage {
		t.Errorf("a bad name: %+v", got)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something was made: %v", err)
	}
	got := cli(t, nil, "agent", "create", "alice/myws/main", "--with-user", "--create", "--data-dir", dir)
	if got.code != 0 || !strings.Contains(got.stderr, "created a new database: "+filepath.Join(dir, "server.db")) {
		t.Errorf("the first agent of all: %+v", got)
	}
}
