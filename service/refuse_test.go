package service

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/causewayhq/causeway/localapi"
)

func TestStartRefused(t *testing.T) {
	tests := map[string]struct {
		damage func(t *testing.T, r *rig)
		want   Failure
		text   string
	}{
		"state directory is a file": {func(t *testing.T, r *rig) { put(t, r.config.StateDir, "") }, FailureState, "directory"},
		"state directory is open":   {func(t *testing.T, r *rig) { mkdir(t, r.config.StateDir, 0o755) }, FailureState, "lets others in"},
		"state directory is a link": {func(t *testing.T, r *rig) { link(t, t.TempDir(), r.config.StateDir) }, FailureState, "symbolic link"},
		"corrupt state":             {func(t *testing.T, r *rig) { putState(t, r, "{") }, FailureState, "corrupt"},
		"truncated state":           {func(t *testing.T, r *rig) { putState(t, r, "") }, FailureState, "corrupt"},
		"unknown field":             {func(t *testing.T, r *rig) { putState(t, r, `{"version":1,"x":1}`) }, FailureState, "corrupt"},
		"no version":                {func(t *testing.T, r *rig) { putState(t, r, `{}`) }, FailureState, "corrupt"},
		"bad profile":               {func(t *testing.T, r *rig) { putState(t, r, `{"version":1,"profile":{"url":"x"}}`) }, FailureState, "corrupt"},
		"newer state":               {func(t *testing.T, r *rig) { putState(t, r, `{"version":3}`) }, FailureState, "newer"},
		"huge state":                {func(t *testing.T, r *rig) { putState(t, r, strings.Repeat(" ", maxState+1)) }, FailureState, "larger"},
		"state is a link": {func(t *testing.T, r *rig) {
			mkdir(t, r.config.StateDir, 0o700)
			link(t, "/etc/hostname", filepath.Join(r.config.StateDir, stateFile))
		}, FailureState, "not a regular file"},
		"lock is a link": {func(t *testing.T, r *rig) {
			mkdir(t, r.config.StateDir, 0o700)
			link(t, filepath.Join(t.TempDir(), "x"), filepath.Join(r.config.StateDir, lockFile))
		}, FailureState, "lock"},
		"socket is a file": {func(t *testing.T, r *rig) { put(t, r.config.Socket, "") }, FailureSocket, "not a socket"},
		"socket is served": {func(t *testing.T, r *rig) {
			listener, err := localapi.Listen(r.config.Socket)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { listener.Close() })
		}, FailureSocket, "already serves"},
		"preflight": {func(_ *testing.T, r *rig) {
			r.config.Preflight = func() error { return fail(FailureTUN, "modprobe tun", "no driver") }
		}, FailureTUN, "no driver"},
		"cleanup": {func(_ *testing.T, r *rig) { r.os.err = errors.New("route is busy") }, FailureNetwork, "route is busy"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			test.damage(t, r)
			err := New(r.config).Run(t.Context())
			wantFailure(t, err, test.want)
			if err != nil && !strings.Contains(err.Error(), test.text) {
				t.Errorf("error %q, want %q in it", err, test.text)
			}
		})
	}
}

func TestCorruptStateStays(t *testing.T) {
	r := newRig(t)
	putState(t, r, "{precious")
	err := New(r.config).Run(t.Context())
	path := filepath.Join(r.config.StateDir, stateFile)
	var failed *Error
	if !errors.As(err, &failed) || !strings.Contains(failed.Remedy, path) || strings.Contains(err.Error(), "precious") {
		t.Errorf("error %v, remedy %q", err, failed.Remedy)
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "{precious" {
		t.Errorf("the file is now %q, %v", data, err)
	}
}

func put(t *testing.T, path, text string) {
	t.Helper()
	mkdir(t, filepath.Dir(path), 0o755)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func putState(t *testing.T, r *rig, text string) {
	t.Helper()
	mkdir(t, r.config.StateDir, 0o700)
	put(t, filepath.Join(r.config.StateDir, stateFile), text)
}

func mkdir(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(path, mode); err != nil {
		t.Fatal(err)
	}
}

func link(t *testing.T, target, path string) {
	t.Helper()
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
}
