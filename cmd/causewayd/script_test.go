package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/causewayhq/causeway/cli"
	"github.com/causewayhq/causeway/internal/version"
)

func TestMain(m *testing.M) {
	commands := map[string]func(){
		"causewayd": main,
		"causeway": func() {
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
			code := cli.Main(ctx, cli.Env{
				Args: os.Args, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
				LookupEnv: os.LookupEnv, Version: version.Version,
			})
			stop()
			os.Exit(code)
		},
	}
	maps.Copy(commands, helpers)
	testscript.Main(m, commands)
}

// helpers are programs that tests run as other users, or in other namespaces.
var helpers = map[string]func(){}

// TestScripts runs the daemon as a process. What needs root is skipped without.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			// Sockets have short paths; the script's directory may be long.
			dir, err := os.MkdirTemp("", "cwd")
			if err != nil {
				return err
			}
			env.Defer(func() { os.RemoveAll(dir) })
			env.Setenv("SHORT", dir)
			env.Setenv("GORACE", os.Getenv("GORACE"))
			env.Setenv("CAUSEWAY_STATE_DIR", filepath.Join(dir, "state"))
			env.Setenv("CAUSEWAY_SOCKET", filepath.Join(dir, "s"))
			env.Setenv("CAUSEWAY_INTERFACE", "cwt"+filepath.Base(dir)[3:min(15, len(filepath.Base(dir)))])
			return nil
		},
		Condition: func(name string) (bool, error) {
			if name == "root" {
				_, err := os.Stat("/dev/net/tun")
				return os.Geteuid() == 0 && err == nil, nil
			}
			return false, fmt.Errorf("unknown condition %q", name)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"code": expectCode},
	})
}

// expectCode runs a command and compares its exit code: code 10 causewayd run.
func expectCode(ts *testscript.TestScript, _ bool, args []string) {
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		if _, scanErr := fmt.Sscanf(err.Error(), "exit status %d", &got); scanErr != nil {
			ts.Fatalf("run %v: %v", args[1:], err)
		}
	}
	if fmt.Sprint(got) != args[0] {
		ts.Fatalf("exit code %d of %v, want %s\n%s", got, args[1:], args[0], ts.ReadFile("stderr"))
	}
}
