//go:build unix

package sshd

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestTransfers(t *testing.T) {
	for line, want := range map[string]bool{
		"scp -t .": true, "/usr/lib/openssh/sftp-server": true, "rsync --server -e.L . /x": true, "nc -l 1": true, "'rsync' x": true, `"scp" -f x`: true,
		"cd /tmp && exec nohup rsync x": true, "A=1 env B=2 scp x": true, "tar c . | nc host 1": true, "echo $(sftp x)": true, `C:\tools\scp.exe -t`: true, `r\sync x`: false,
		"": false, "echo scp": false, "scpx": false, "ls nc": false, "make rsync": false, "git-upload-pack x": false, "env": false,
	} {
		if got := transfers(line); got != want {
			t.Errorf("%q: %v", line, got)
		}
	}
}

func FuzzTransfers(f *testing.F) {
	f.Add("a=b exec 'scp' -t . | nc")
	f.Fuzz(func(_ *testing.T, line string) { transfers(line) })
}

func TestBlockedFileTransfer(t *testing.T) {
	r := newRigWith(t, func(config *Config) { config.BlockFileTransfer = true })
	for name, arguments := range map[string][]string{
		"sftp": {"-s", "127.0.0.1", "sftp"}, "scp": {"127.0.0.1", "scp -t ."}, "rsync": {"127.0.0.1", "rsync --server ."}, "nc": {"127.0.0.1", "nc -h"},
		"sftp-server": {"127.0.0.1", "/usr/lib/openssh/sftp-server"},
	} {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, status := r.ssh("", arguments...)
			if stdout != "" || stderr != "File transfer has been disabled.\r\n" || status != 65 {
				t.Errorf("got %q, %q, status %d", stdout, stderr, status)
			}
		})
	}
	source := filepath.Join(t.TempDir(), "source")
	if err := os.WriteFile(source, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []string{"-s", "-O"} {
		output, err := r.command("scp", mode, source, "127.0.0.1:copy").CombinedOutput()
		if err == nil || !strings.Contains(string(output), transferRefused) {
			t.Errorf("scp %s: %v: %s", mode, err, output)
		}
	}
	if _, err := os.Stat(filepath.Join(r.directory, "copy")); err == nil {
		t.Error("a file was copied")
	}
	if stdout, _, status := r.ssh("", "127.0.0.1", "echo works"); stdout != "works\n" || status != 0 {
		t.Errorf("a command: %q, status %d", stdout, status)
	}
}

func TestBlockedForwards(t *testing.T) {
	target := shouter(t, "tcp", "127.0.0.1:0").Addr().String()
	socket := filepath.Join(t.TempDir(), "socket")
	shouter(t, "unix", socket)
	local := []string{"-W", target, "127.0.0.1"}
	reverse := [][]string{{"-R", freePort(t) + ":" + target, "127.0.0.1", "true"}, {"-R", filepath.Join(t.TempDir(), "r") + ":" + target, "127.0.0.1", "true"}}
	for _, test := range []struct{ local, reverse bool }{{true, false}, {false, true}} {
		t.Run(fmt.Sprintf("%+v", test), func(t *testing.T) {
			r := newRigWith(t, func(config *Config) { config.BlockLocalForward, config.BlockReverseForward = test.local, test.reverse })
			stdout, stderr, status := r.ssh("through", local...)
			if (status != 0) != test.local || (stdout != "THROUGH") != test.local {
				t.Errorf("-W: %q, %q, status %d", stdout, stderr, status)
			}
			client := r.dial(t)
			if _, err := client.Dial("unix", socket); (err != nil) != test.local || test.local && !strings.Contains(err.Error(), "local port forwarding has been disabled") {
				t.Errorf("a socket: %v", err)
			}
			for _, arguments := range reverse {
				if _, stderr, status := r.ssh("", append([]string{"-o", "ExitOnForwardFailure=yes"}, arguments...)...); (status != 0) != test.reverse {
					t.Errorf("%v: %q, status %d", arguments, stderr, status)
				}
			}
		})
	}
}

// TestEndedConnections: a user hears why.
func TestEndedConnections(t *testing.T) {
	for name, test := range map[string]struct {
		set  func(*Config)
		says string
	}{
		"idle":        {func(c *Config) { c.IdleTimeout = time.Second }, "the connection was idle for 1s"},
		"maximum":     {func(c *Config) { c.MaxSession = time.Second }, "the connection has lasted 1s, the longest that is allowed"},
		"max timeout": {func(c *Config) { c.MaxTimeout = time.Second }, "the connection has lasted 1s, the longest that is allowed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log reportLog
			r := newRigWith(t, func(config *Config) {
				test.set(config)
				config.Opened = log.opened
			})
			start := time.Now()
			_, stderr, status := r.ssh("", "-tt", "127.0.0.1", "exec sleep 30")
			if status != 255 || !strings.Contains(stderr, test.says) || time.Since(start) < time.Second {
				t.Errorf("got %q, status %d after %v", stderr, status, time.Since(start))
			}
			if got := log.take(t); len(got) != 1 || got[0] != "SSH 255 "+test.says {
				t.Errorf("reported: %q", got)
			}
		})
	}
}

func TestBanners(t *testing.T) {
	home := t.TempDir()
	motd := filepath.Join(home, "motd")
	if err := os.WriteFile(motd, []byte("first\nsecond\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	path := motd
	r := newRigWith(t, func(config *Config) {
		config.Banners = func() []string { return []string{"banner one", "two\nlines"} }
		config.MOTD = func() string { return path }
	})
	r.server.home = func() string { return home }
	const banners, day = "banner one\r\n\r\ntwo\r\nlines\r\n\r\n", "first\r\nsecond\r\n"
	shell := func() string {
		t.Helper()
		stdout, stderr, status := r.ssh("exit 4\n", "-tt", "127.0.0.1")
		if status != 4 {
			t.Errorf("got %q, %q, status %d", stdout, stderr, status)
		}
		return stdout
	}
	if got := shell(); !strings.HasPrefix(got, banners+day) {
		t.Errorf("a login shell begins with %q", got)
	}
	for name, arguments := range map[string][]string{"command": {"127.0.0.1", "true"}, "command on a terminal": {"-tt", "127.0.0.1", "true"}, "shell without a terminal": {"-T", "127.0.0.1"}} {
		if stdout, stderr, _ := r.ssh("exit\n", arguments...); strings.Contains(stdout+stderr, "banner") || strings.Contains(stdout, "first") {
			t.Errorf("%s: %q", name, stdout)
		}
	}
	if err := os.WriteFile(filepath.Join(home, ".hushlogin"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := shell(); !strings.HasPrefix(got, banners) || strings.Contains(got, "first") {
		t.Errorf("with .hushlogin: %q", got)
	}
	os.Remove(filepath.Join(home, ".hushlogin"))
	for _, path = range []string{"", filepath.Join(home, "absent"), home} {
		if got := r.server.preface(); got != banners {
			t.Errorf("MOTD %q: %q", path, got)
		}
	}
	path = motd
	if err := os.WriteFile(motd, make([]byte, 4*bannerLimit), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := r.server.preface(); len(got) > bannerLimit+1024 {
		t.Errorf("%d bytes of a large MOTD", len(got))
	}
}
