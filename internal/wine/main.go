// Command wine runs packages' Windows tests under Wine, for what can be shown
// without Windows: registry, file locks, services, pipes.
//
//	wine [go test flags] PACKAGE...
//	wine -hold PACKAGE
//
// With -hold it builds a program for Wine instead, prints as JSON where that is
// and which environment runs it, and keeps the prefix until its input ends.
//
// The first run on a machine makes a prefix, Wine's word for a Windows
// installation, in about 15 s; each run works on a copy and removes it. Tests
// see CAUSEWAY_WINE=1: their HKEY_LOCAL_MACHINE is nobody's, so they may use
// the real paths. They run one package at a time, for they share it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	// cache is on a disk, not on a tmpfs: a prefix has 700 MB.
	cache = "/var/tmp/causeway-testhosts/wine"
	// deadline of a whole run.
	deadline = 9 * time.Minute
	// abandoned is the age of what a killed run left.
	abandoned = time.Hour
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	err := run(ctx, os.Args[1:])
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "wine:", err)
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 {
		os.Exit(exit.ExitCode())
	}
	os.Exit(1)
}

func run(ctx context.Context, args []string) (err error) {
	ready, err := prepare(ctx)
	if err != nil {
		return fmt.Errorf("prepare prefix: %w", err)
	}
	sweep()
	dir, err := os.MkdirTemp(cache, "run-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	overlay, err := writeOverlay(ctx, dir)
	if err != nil {
		return fmt.Errorf("write overlay of the standard library: %w", err)
	}
	prefix := filepath.Join(dir, "prefix")
	if err := command(ctx, nil, "cp", "-a", "--reflink=auto", ready, prefix); err != nil {
		return err
	}
	environment := wineEnvironment(prefix)
	if len(args) == 2 && args[0] == "-hold" {
		return lend(ctx, dir, overlay, args[1], environment)
	}
	if environment, err = buildDaemon(ctx, dir, environment, args); err != nil {
		return err
	}
	stop, err := keep(ctx, environment)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	test := exec.CommandContext(ctx, "go", append([]string{"test", "-count=1", "-overlay", overlay,
		"-exec", "flock " + filepath.Join(dir, "lock") + " wine"}, args...)...)
	test.Env = append(environment, "GOOS=windows", "GOARCH=amd64", "CGO_ENABLED=0", "CAUSEWAY_WINE=1")
	test.Stdout, test.Stderr = os.Stdout, os.Stderr
	test.Cancel = func() error { return test.Process.Signal(os.Interrupt) }
	test.WaitDelay = 10 * time.Second
	return test.Run()
}

// needsDaemon is the package whose tests install the real program as a service.
const needsDaemon = "./service/system"

// buildDaemon builds causewayd.exe for tests that want it, and tells them where
// it is.
func buildDaemon(ctx context.Context, dir string, environment, args []string) ([]string, error) {
	if !slices.Contains(args, needsDaemon) {
		return environment, nil
	}
	program := filepath.Join(dir, "causewayd.exe")
	building := append(os.Environ(), "GOOS=windows", "GOARCH=amd64", "CGO_ENABLED=0")
	if err := command(ctx, building, "go", "build", "-o", program, "./cmd/causewayd"); err != nil {
		return nil, fmt.Errorf("build causewayd.exe: %w", err)
	}
	return append(environment, "CAUSEWAY_WINE_DAEMON=Z:"+strings.ReplaceAll(program, "/", `\`)), nil
}

// keep starts a Windows program that does nothing until stop, or until we are
// killed. While it runs, Wine's services do: else the first test would start
// them, with its output in their hands, and go test would wait for them too.
func keep(ctx context.Context, environment []string) (stop func() error, err error) {
	keeper := exec.CommandContext(ctx, "wine", "cmd")
	keeper.Env = environment
	input, err := keeper.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := keeper.Start(); err != nil {
		return nil, fmt.Errorf("start wine: %w", err)
	}
	stop = func() error {
		input.Close()
		keeper.Wait() //nolint:errcheck // how it ended says nothing
		return command(context.WithoutCancel(ctx), environment, "wineserver", "-k", "-w")
	}
	if err := command(ctx, environment, "wine", "cmd", "/c", "ver"); err != nil {
		return nil, errors.Join(err, stop())
	}
	return stop, nil
}

// sweep removes what killed runs left.
func sweep() {
	runs, err := filepath.Glob(filepath.Join(cache, "run-*"))
	if err != nil {
		return
	}
	for _, run := range runs {
		if info, err := os.Stat(run); err == nil && time.Since(info.ModTime()) > abandoned {
			os.RemoveAll(run)
		}
	}
}

// wineEnvironment has no display, no debug output, and no offers to download
// what a prefix lacks.
func wineEnvironment(prefix string) []string {
	return append(os.Environ(), "WINEPREFIX="+prefix, "WINEARCH=win64", "WINEDEBUG=-all", "DISPLAY=", "WINEDLLOVERRIDES=mscoree,mshtml=")
}

// command runs a program; what it prints is part of its error.
func command(ctx context.Context, environment []string, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = environment
	// Into a file and not a pipe: a server that stays would hold a pipe open.
	output, err := os.CreateTemp("", "wine-output-")
	if err != nil {
		return err
	}
	defer os.Remove(output.Name())
	defer output.Close()
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(output.Name()) //nolint:errcheck // the text is an extra
		return fmt.Errorf("%s %q: %w\n%s", name, args, err, text)
	}
	return nil
}
