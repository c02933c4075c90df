package cli

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/causewayhq/causeway/localapi"
)

func onTerminal(t *testing.T, size pty.Winsize, env map[string]string, after, typed string, arguments ...string) (code int, screen, calls string) {
	t.Helper()
	ours, theirs, err := pty.Open()
	if err != nil {
		t.Skipf("open a terminal: %v", err)
	}
	defer theirs.Close()
	if err := pty.Setsize(ours, &size); err != nil {
		t.Fatal(err)
	}
	socket, record := filepath.Join(t.TempDir(), "s"), filepath.Join(t.TempDir(), "calls")
	listener, err := localapi.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() {
		served <- localapi.Serve(ctx, listener, newProfileDaemon("empty", record), func(localapi.Caller, localapi.Access) error { return nil }, discard)
	}()
	var shown output
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		_, _ = io.Copy(&shown, ours) // ends with an error when the terminal does
	}()
	ended := make(chan int, 1)
	runCtx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	go func() {
		ended <- Main(runCtx, Env{
			Args: append([]string{"causeway", "--socket", socket}, arguments...), Stdin: theirs, Stdout: theirs, Stderr: theirs,
			LookupEnv: func(name string) (string, bool) { value, ok := env[name]; return value, ok },
		})
	}()
	waitFor(t, after, func() bool { return strings.Contains(shown.String(), after) })
	if typed == "^C" {
		waitFor(t, "echo off", func() bool { return !echoes(t, theirs) })
		interrupt()
	} else if typed != "" {
		waitFor(t, "echo off", func() bool { return !echoes(t, theirs) })
		if _, err := ours.WriteString(typed); err != nil {
			t.Fatal(err)
		}
	}
	code = <-ended
	if !echoes(t, theirs) {
		t.Error("the terminal was left without echo")
	}
	if typed == "^C" {
		// The read that cannot be called off takes this, as the process would end.
		if _, err := ours.WriteString("\n"); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
	theirs.Close()
	<-copied // all that was shown
	ours.Close()
	data, _ := os.ReadFile(record)
	return code, shown.String(), string(data)
}

func TestPaste(t *testing.T) {
	t.Parallel()
	server := fakeDeployment("coder")
	defer server.Close()
	code, screen, calls := onTerminal(t, pty.Winsize{Rows: 40, Cols: 100}, nil, "Paste it here (it is not shown): ", goodToken+"\r", "login", server.URL)
	if code != 0 || !strings.Contains(calls, `"token":"good"`) || !strings.Contains(screen, "open "+server.URL+"/cli-auth") || !strings.Contains(screen, "signed in to "+server.URL+" as alice") {
		t.Errorf("exit code %d, calls %s, screen\n%s", code, calls, screen)
	}
	if strings.Contains(screen, goodToken) {
		t.Error("the token shows on the screen")
	}
	// On a Causeway server too, if it is wanted.
	other := fakeDeployment("approve")
	defer other.Close()
	if code, screen, _ := onTerminal(t, pty.Winsize{Rows: 40, Cols: 100}, nil, "not shown): ", goodToken+"\r", "login", other.URL, "--token-file", "-"); code != 0 {
		t.Errorf("exit code %d, screen\n%s", code, screen)
	}
	for typed, want := range map[string]int{"two words\r": int(localapi.CodeUsage), "\r": int(localapi.CodeUsage), "^C": interrupted} {
		code, screen, calls := onTerminal(t, pty.Winsize{Rows: 40, Cols: 100}, nil, "not shown): ", typed, "login", server.URL)
		if code != want || calls != "" {
			t.Errorf("%q: exit code %d, want %d; calls %q, screen\n%s", typed, code, want, calls, screen)
		}
	}
}

func TestPasteOpensThePage(t *testing.T) {
	t.Parallel()
	server := fakeDeployment("coder")
	defer server.Close()
	dir := t.TempDir()
	program, opened := filepath.Join(dir, "browser"), filepath.Join(dir, "opened")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho \"$1\" >>"+opened+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"CAUSEWAY_BROWSER": program}
	for flag, want := range map[string]string{"--qr=auto": server.URL + "/cli-auth\n", "--no-browser": ""} {
		os.Remove(opened)
		if code, screen, _ := onTerminal(t, pty.Winsize{Rows: 40, Cols: 100}, env, "not shown): ", goodToken+"\r", "login", server.URL, flag); code != 0 {
			t.Errorf("exit code %d, screen\n%s", code, screen)
		}
		if data, _ := os.ReadFile(opened); string(data) != want {
			t.Errorf("%s: opened %q, want %q", flag, data, want)
		}
	}
}

func TestPictureNeedsRoom(t *testing.T) {
	t.Parallel()
	server := fakeDeployment("approve")
	t.Cleanup(server.Close) // the parts run in parallel, after this returns
	const half = "▀"
	for name, c := range map[string]struct {
		size pty.Winsize
		env  map[string]string
		flag string
		want bool
	}{
		"wide":             {pty.Winsize{Rows: 50, Cols: 120}, nil, "auto", true},
		"narrow":           {pty.Winsize{Rows: 50, Cols: 30}, nil, "auto", false},
		"low":              {pty.Winsize{Rows: 10, Cols: 120}, nil, "auto", false},
		"narrow, wanted":   {pty.Winsize{Rows: 50, Cols: 30}, nil, "always", true},
		"wide, not wanted": {pty.Winsize{Rows: 50, Cols: 120}, nil, "never", false},
		"no colours":       {pty.Winsize{Rows: 50, Cols: 120}, map[string]string{"NO_COLOR": "1"}, "auto", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, screen, _ := onTerminal(t, c.size, c.env, "ABCD-EFGH", "", "login", server.URL, "--device", "--qr", c.flag)
			if code != 0 || strings.Contains(screen, half) != c.want {
				t.Errorf("exit code %d, picture shown %t, want %t\n%s", code, strings.Contains(screen, half), c.want, screen)
			}
		})
	}
}

func echoes(t *testing.T, terminal *os.File) bool {
	t.Helper()
	settings, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return settings.Lflag&unix.ECHO != 0
}
