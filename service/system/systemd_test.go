//go:build unix

package system

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causewayhq/causeway/packaging/linux"
	"github.com/causewayhq/causeway/service"
)

const ctl = "/usr/bin/systemctl"

// systemdHost is a host whose systemd is recorded.
type systemdHost struct {
	*Manager
	recorder
	said
	root       string
	registered []string
	cleaned    int

	unit    string // what systemctl show prints
	enabled string
}

func newSystemdHost(t *testing.T, dry bool, files ...string) *systemdHost {
	t.Helper()
	h := &systemdHost{root: tree(t, append(files, "etc/systemd/system/")...), unit: "LoadState=not-found\nActiveState=inactive\n", enabled: "disabled"}
	h.answer = func(args string) (string, int) {
		switch {
		case strings.HasPrefix(args, "show "):
			return h.unit, 0
		case strings.HasPrefix(args, "is-enabled "):
			if h.enabled == "enabled" {
				return h.enabled + "\n", 0
			}
			return h.enabled + "\n", 1
		}
		return "", 0
	}
	options := Options{DryRun: dry, Say: h.say, Cleanup: func(context.Context) error { h.cleaned++; return nil }}
	h.Manager = assemble(options, &systemd{
		root: h.root, program: "/opt/c/causewayd", systemctl: ctl, run: h.run,
		trusted: func(path string) (string, error) { return path, nil },
		register: func(text string) (registration, error) {
			done := func(what string) { h.registered = append(h.registered, what) }
			return &registered{path: h.file(unitName), content: []byte(text), done: done}, nil
		},
	}, h.run)
	return h
}

func (h *systemdHost) file(name string) string { return filepath.Join(h.root, adminUnits, name) }

func (h *systemdHost) there(name string) bool {
	_, err := os.Stat(h.file(name))
	return err == nil
}

func TestSystemdInstallsOwnUnits(t *testing.T) {
	h := newSystemdHost(t, false, "opt/c/causeway")
	if err := h.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, name := range linux.Names() {
		text, err := os.ReadFile(h.file(name))
		if err != nil || !strings.HasPrefix(string(text), linux.Mark) || strings.Contains(string(text), "/usr/bin/causeway") {
			t.Errorf("%s: %v\n%s", name, err, text)
		}
	}
	text, _ := os.ReadFile(h.file(unitName)) //nolint:errcheck // compared
	if !strings.Contains(string(text), "\nExecStart=/opt/c/causewayd run\n") || !strings.Contains(string(text), "\nExecStopPost=-+/opt/c/causewayd cleanup --after-stop=%n\n") {
		t.Errorf("the unit runs something else:\n%s", text)
	}
	if len(h.registered) != 1 || !strings.Contains(h.String(), "write "+h.file(unitName)) {
		t.Errorf("registered %v, said %v", h.registered, h.said)
	}
	h.expect(t) // the registration enables it

	h.enabled, h.said = "enabled", nil
	if err := h.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.expect(t)
	if h.String() != "installed already: nothing to do" || len(h.registered) != 1 {
		t.Errorf("said %v, registered %v", h.said, h.registered)
	}

	// A new version: the unit is replaced, and the others too.
	for _, name := range []string{unitName, onlineUnit} {
		if err := os.WriteFile(h.file(name), []byte(linux.Mark+"[Unit]\n# older\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{unitName, onlineUnit} {
		if text, err := os.ReadFile(h.file(name)); err != nil || strings.Contains(string(text), "older") {
			t.Errorf("%s is still the older one (%v)", name, err)
		}
	}
	if len(h.registered) != 2 {
		t.Errorf("registered %v", h.registered)
	}
}

const onlineUnit = "causeway-online.target"

func TestSystemdCompanionAloneIsReloaded(t *testing.T) {
	h := newSystemdHost(t, false, "opt/c/causeway")
	if err := h.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.enabled = "enabled"
	if err := os.Remove(h.file(onlineUnit)); err != nil {
		t.Fatal(err)
	}
	if err := h.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.expect(t, ctl+" daemon-reload")
}

func TestSystemdWithoutTheCommandLine(t *testing.T) {
	h := newSystemdHost(t, false)
	if err := h.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	if h.there(onlineUnit) || !h.there(unitName) || !strings.Contains(h.String(), "causeway-online.target") {
		t.Errorf("said %v", h.said)
	}
}

func TestSystemdLeavesAnAdministratorsUnit(t *testing.T) {
	h := newSystemdHost(t, false, "etc/systemd/system/causewayd.service")
	failedWith(t, h.Install(t.Context()), service.FailureService, "was not written by causewayd")
	if err := h.Uninstall(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !h.there(unitName) || len(h.registered) != 0 {
		t.Error("it is gone")
	}
}

func TestSystemdEnablesThePackagesUnit(t *testing.T) {
	for _, dir := range packageUnits {
		h := newSystemdHost(t, false, dir+"/"+unitName)
		// Our own one of before the package would hide the package's.
		if err := os.WriteFile(h.file(unitName), []byte(linux.Mark), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := h.Install(t.Context()); err != nil {
			t.Fatal(err)
		}
		h.expect(t, ctl+" daemon-reload", ctl+" enable causewayd.service")
		if h.there(unitName) || len(h.registered) != 0 {
			t.Error("there are units of our own")
		}
		h.unit, h.enabled = "LoadState=loaded\nActiveState=inactive\n", "enabled"
		if err := h.Uninstall(t.Context()); err != nil {
			t.Fatal(err)
		}
		h.expect(t, ctl+" disable causewayd.service")
		if _, err := os.Stat(filepath.Join(h.root, dir, unitName)); err != nil || h.cleaned != 1 {
			t.Errorf("%v; cleaned %d times", err, h.cleaned)
		}
	}
}

func TestSystemdMasked(t *testing.T) {
	h := newSystemdHost(t, false, "usr/lib/systemd/system/causewayd.service")
	h.enabled = "masked"
	failedWith(t, h.Install(t.Context()), service.FailureService, "masked")
}

func TestSystemdDryRunTouchesNothing(t *testing.T) {
	h := newSystemdHost(t, true)
	if err := h.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.unit = "LoadState=loaded\nActiveState=active\nMainPID=7\n"
	for _, act := range []func(context.Context) error{h.Restart, h.Stop, h.Uninstall} {
		if err := act(t.Context()); err != nil {
			t.Error(err)
		}
	}
	h.expect(t)
	if h.there(unitName) || h.cleaned != 0 || len(h.registered) != 0 {
		t.Error("something was done")
	}
	for _, line := range []string{
		"would write " + h.file("causewayd-restore.service"), "would run /usr/bin/systemctl restart causewayd.service",
		"would run /usr/bin/systemctl stop causewayd.service", "would undo network configuration",
	} {
		if !strings.Contains(h.String(), line) {
			t.Errorf("not said: %s", line)
		}
	}
}

func TestSystemdUninstall(t *testing.T) {
	h := newSystemdHost(t, false, "opt/c/causeway")
	if err := h.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.unit = "LoadState=loaded\nActiveState=active\nMainPID=7\n"
	answer := h.answer
	h.answer = func(args string) (string, int) {
		if strings.HasPrefix(args, "stop ") {
			if h.cleaned != 0 {
				t.Error("cleaned up under a daemon that runs")
			}
			h.unit = "LoadState=loaded\nActiveState=inactive\n"
		}
		return answer(args)
	}
	for range 2 {
		if err := h.Uninstall(t.Context()); err != nil {
			t.Fatal(err)
		}
		h.unit = "LoadState=not-found\nActiveState=inactive\n"
	}
	h.expect(t, ctl+" stop causewayd.service", ctl+" daemon-reload")
	if left, err := os.ReadDir(filepath.Join(h.root, adminUnits)); err != nil || len(left) != 0 {
		t.Errorf("left: %v %v", left, err)
	}
	if h.cleaned != 2 || strings.Join(h.registered, " ") != "install uninstall" {
		t.Errorf("cleaned %d times, registered %v", h.cleaned, h.registered)
	}
}

func TestStartSaysWhyTheDaemonEnded(t *testing.T) {
	h := newSystemdHost(t, false)
	h.unit = "LoadState=loaded\nActiveState=inactive\n"
	answer := h.answer
	h.answer = func(args string) (string, int) {
		if strings.HasPrefix(args, "start ") {
			h.unit = "LoadState=loaded\nActiveState=activating\nSubState=auto-restart\nResult=exit-code\nExecMainCode=1\nExecMainStatus=13\n"
			return "Job for causewayd.service failed", 1
		}
		return answer(args)
	}
	failedWith(t, h.Start(t.Context()), service.FailureService, "exit code 13: the TUN device cannot be made")
}

func TestNotInstalled(t *testing.T) {
	h := newSystemdHost(t, false)
	for _, act := range []func(context.Context) error{h.Start, h.Stop, h.Restart} {
		failedWith(t, act(t.Context()), service.FailureNotInstalled, "not installed")
	}
	h.expect(t)
}

// TestWaitsEnd: a service that never gets there, or a restart that left the old
// process, is an error after a limit.
func TestWaitsEnd(t *testing.T) {
	for name, c := range map[string]struct {
		act   func(context.Context, *systemdHost) error
		limit time.Duration
		text  string
	}{
		"Stop":    {func(ctx context.Context, h *systemdHost) error { return h.Stop(ctx) }, stopLimit, "after 30s it is running"},
		"Restart": {func(ctx context.Context, h *systemdHost) error { return h.Restart(ctx) }, startLimit, "after 1m0s it is running"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newSystemdHost(t, false)
			h.unit = "LoadState=loaded\nActiveState=active\nMainPID=7\n"
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				failedWith(t, c.act(t.Context(), h), service.FailureService, c.text)
				if took := time.Since(began); took != c.limit {
					t.Errorf("took %v, the limit is %v", took, c.limit)
				}
			})
		})
	}
}

func TestRestartWaitsForAnotherProcess(t *testing.T) {
	h := newSystemdHost(t, false)
	h.unit = "LoadState=loaded\nActiveState=active\nMainPID=7\n"
	synctest.Test(t, func(t *testing.T) {
		from, answer := time.Now().Add(3*time.Second), h.answer
		h.answer = func(args string) (string, int) {
			if strings.HasPrefix(args, "show ") && !time.Now().Before(from) {
				return "LoadState=loaded\nActiveState=active\nMainPID=8\n", 0
			}
			return answer(args)
		}
		if err := h.Restart(t.Context()); err != nil || time.Now().Before(from) {
			t.Errorf("%v, before there is another process: %v", err, time.Now().Before(from))
		}
	})
}

func TestReadUnit(t *testing.T) {
	for text, want := range map[string]Status{
		"LoadState=loaded\nActiveState=active\nSubState=running\nMainPID=12\nUnitFileState=enabled\nFragmentPath=/x\nExecMainStatus=0": {State: Running, PID: 12, AtBoot: true, Definition: "/x"},
		"LoadState=loaded\nActiveState=activating\nSubState=start\nMainPID=12":                                                         {State: Starting, PID: 12},
		"LoadState=loaded\nActiveState=deactivating\nMainPID=12":                                                                       {State: Stopping, PID: 12},
		"LoadState=loaded\nActiveState=inactive\nExecMainCode=1\nExecMainStatus=13":                                                    {State: Stopped},
		"LoadState=loaded\nActiveState=failed\nResult=signal\nExecMainCode=2\nExecMainStatus=6":                                        {State: Failed, Detail: "systemd says signal"},
		"LoadState=loaded\nActiveState=failed\nResult=exit-code\nExecMainCode=1\nExecMainStatus=10":                                    {State: Failed, ExitCode: 10, Detail: "systemd says exit-code"},
		"LoadState=masked\nActiveState=inactive":                                                                                       {State: Stopped, Detail: "the unit is masked"},
		"LoadState=not-found\nActiveState=inactive":                                                                                    {State: NotInstalled},
	} {
		want.Manager = "systemd"
		if got := readUnit(text); got != want {
			t.Errorf("%q\ngot  %+v\nwant %+v", text, got, want)
		}
	}
}

// TestSystemdTrustsTheCommandToo: a unit has root run the command beside the
// daemon; both are installed by the names that were looked at.
func TestSystemdTrustsTheCommandToo(t *testing.T) {
	h := newSystemdHost(t, false, "opt/c/causeway")
	daemon, ok := h.backend.(*systemd)
	if !ok {
		t.Fatal("not systemd")
	}
	daemon.trusted = func(path string) (string, error) {
		if filepath.Base(path) == "causeway" {
			return "", &service.Error{Failure: service.FailureService, Remedy: "copy it", Err: errors.New("it is a user's")}
		}
		return path, nil
	}
	failedWith(t, h.Install(t.Context()), service.FailureService, "it is a user's")
	for _, name := range linux.Names() {
		if h.there(name) {
			t.Errorf("%s was written", name)
		}
	}
	daemon.trusted = func(path string) (string, error) { return "/real" + path, nil }
	if err := os.MkdirAll(filepath.Join(h.root, "real/opt/c"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(h.root, "real/opt/c/causeway"), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := h.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(h.file(unitName))
	if err != nil || !strings.Contains(string(text), "\nExecStart=/real/opt/c/causewayd run\n") {
		t.Errorf("%v\n%s", err, text)
	}
	text, err = os.ReadFile(h.file("causeway-wait-online.service"))
	if err != nil || !strings.Contains(string(text), "\nExecStart=/real/real/opt/c/causeway wait ") {
		t.Errorf("%v\n%s", err, text)
	}
}

// TestRegistrationHasALimit: the library runs systemctl and waits without one.
func TestRegistrationHasALimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := make(chan struct{})
		begun := time.Now()
		err := within(t.Context(), func() error { <-stuck; return nil })()
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != programLimit {
			t.Errorf("%v after %s", err, time.Since(begun))
		}
		close(stuck)
		refusal := errors.New("refused")
		if err := within(t.Context(), func() error { return refusal })(); !errors.Is(err, refusal) {
			t.Error(err)
		}
	})
}
