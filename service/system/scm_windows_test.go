package system

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
	"golang.org/x/sys/windows/svc/mgr"

	"github.com/causewayhq/causeway/config"
	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
	"github.com/causewayhq/causeway/service"
)

// ownMachine skips what would change somebody's Windows.
func ownMachine(t *testing.T) string {
	t.Helper()
	daemon := os.Getenv("CAUSEWAY_WINE_DAEMON")
	if os.Getenv("CAUSEWAY_WINE") == "" || daemon == "" {
		t.Skip("for a machine of the test's own: scripts/wine.sh ./service/system")
	}
	return daemon
}

// installedDaemon puts the real program where it belongs.
func installedDaemon(t *testing.T) string {
	t.Helper()
	from, err := os.Open(ownMachine(t))
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	dir := `C:\Program Files\Causeway`
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "causewayd.exe")
	to, err := os.Create(program)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(to, from)
	if err := errors.Join(err, to.Close()); err != nil {
		t.Fatal(err)
	}
	return program
}

// commandLine runs the real program.
func commandLine(t *testing.T, program string, code int, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	output, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	var exit *exec.ExitError
	got := 0
	if errors.As(err, &exit) {
		got, err = exit.ExitCode(), nil
	}
	if err != nil || got != code {
		t.Fatalf("causewayd %v: %v, exit code %d, want %d\n%s", args, err, got, code, output)
	}
	return string(output)
}

// eventSource is where programs that write to the event log are known.
const eventSource = `SYSTEM\CurrentControlSet\Services\EventLog\Application\causewayd`

// TestRealService installs, starts, asks, restarts, stops and deletes the real
// program as a service.
func TestRealService(t *testing.T) {
	program := installedDaemon(t)
	commandLine(t, program, int(service.FailureNotInstalled), "status")
	commandLine(t, program, int(service.FailureNotInstalled), "start")
	if said := commandLine(t, program, 0, "install", "--dry-run"); !strings.Contains(said, "would create service causewayd") {
		t.Errorf("the dry run says %s", said)
	}
	commandLine(t, program, int(service.FailureNotInstalled), "status")
	commandLine(t, program, 0, "install")
	t.Cleanup(func() { _ = exec.Command(program, "uninstall").Run() })
	if said := commandLine(t, program, 0, "install"); strings.Contains(said, "create") {
		t.Errorf("the second install says %s", said)
	}
	kept(t, program)
	commandLine(t, program, int(service.FailureNotRunning), "status")

	commandLine(t, program, 0, "start")
	first := running(t, program)
	withoutDriver(t)
	commandLine(t, program, 0, "restart")
	if second := running(t, program); second == first {
		t.Errorf("the process is still %d", first)
	}
	withoutDriver(t)
	commandLine(t, program, 0, "stop")
	commandLine(t, program, int(service.FailureNotRunning), "status")
	log, err := os.ReadFile(`C:\ProgramData\Causeway\Logs\causewayd.log`)
	if err != nil || strings.Count(string(log), "daemon started") != 2 || strings.Count(string(log), "daemon stopped") != 2 {
		t.Errorf("the log has (%v)\n%s", err, log)
	}

	commandLine(t, program, 0, "start") // uninstall stops it
	commandLine(t, program, 0, "uninstall")
	commandLine(t, program, int(service.FailureNotInstalled), "status")
	commandLine(t, program, 0, "uninstall")
	for _, key := range []string{`SYSTEM\CurrentControlSet\Services\causewayd`, eventSource} {
		if opened, err := registry.OpenKey(registry.LOCAL_MACHINE, key, registry.READ); err == nil {
			opened.Close()
			t.Errorf("%s is left", key)
		}
	}
}

// kept reads back what the service manager and the registry keep.
func kept(t *testing.T, program string) {
	t.Helper()
	found := readBack(t, Name)
	if found.Command != `"`+program+`" run --service` || !found.Automatic || found.Delayed || found.DisplayName != displayName || found.Description != description {
		t.Errorf("registered %+v", found)
	}
	if found.Preshutdown != preshutdownLimit {
		t.Errorf("Windows waits %v for it", found.Preshutdown)
	}
	key, err := registry.OpenKey(registry.LOCAL_MACHINE, eventSource, registry.READ)
	if err != nil {
		t.Fatal("event source:", err)
	}
	defer key.Close()
	if file, _, err := key.GetStringValue("EventMessageFile"); err != nil || file == "" {
		t.Errorf("messages of the event source: %q, %v", file, err)
	}
}

func readBack(t *testing.T, name string) settings {
	t.Helper()
	var found settings
	there, err := (&scm{name: name}).with(windows.SC_MANAGER_CONNECT, windows.SERVICE_QUERY_CONFIG, func(_ *mgr.Mgr, opened *mgr.Service) (err error) {
		found, err = read(opened)
		return err
	})
	if err != nil || !there {
		t.Fatalf("service %s: there %v, %v", name, there, err)
	}
	return found
}

// running is the process of the service.
func running(t *testing.T, program string) int {
	t.Helper()
	var now struct {
		State  string
		PID    int
		AtBoot bool `json:"at_boot"`
	}
	text := commandLine(t, program, 0, "status", "--json")
	if err := json.Unmarshal([]byte(text), &now); err != nil || now.State != "running" || now.PID == 0 || !now.AtBoot {
		t.Fatalf("%v: %s", err, text)
	}
	return now.PID
}

// withoutDriver: the daemon runs, and says over its pipe that there is no driver.
func withoutDriver(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	client, err := localapi.Dial(ctx, config.DefaultSocket)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	status, err := client.GetStatus(ctx, &localv1.GetStatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	problems := status.GetProblems()
	if status.GetState() != localv1.State_FAILED || len(problems) != 1 || problems[0].GetCode() != "tun-failed" ||
		!strings.Contains(problems[0].GetCause(), "wintun.dll") || problems[0].GetRemedy() == "" {
		t.Errorf("status %v", status)
	}
}

// keptDependencies are those in the registry: Wine's service manager keeps
// them there and does not tell.
func keptDependencies(t *testing.T, name string) []string {
	t.Helper()
	key, err := registry.OpenKey(registry.LOCAL_MACHINE, `SYSTEM\CurrentControlSet\Services\`+name, registry.READ)
	if err != nil {
		t.Fatal(err)
	}
	defer key.Close()
	list, _, err := key.GetStringsValue("DependOnService")
	if err != nil && !errors.Is(err, registry.ErrNotExist) {
		t.Fatal(err)
	}
	return list
}

// TestDependencies: only services that exist and may be started.
func TestDependencies(t *testing.T) {
	program := ownMachine(t)
	connection, err := mgr.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = connection.Disconnect() }()
	before := wanted(program, func(name string) bool { return usable(connection, name) }).Dependencies
	for name, start := range map[string]uint32{"netprofm": mgr.StartManual, "iphlpsvc": mgr.StartDisabled} {
		if slices.Contains(before, name) {
			t.Fatalf("%s is there already", name)
		}
		made, err := connection.CreateService(name, program, mgr.Config{StartType: start})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = errors.Join(made.Delete(), made.Close()) }()
	}
	backend := &scm{program: program, name: "causeway-dependencies"}
	quiet := &steps{say: func(string) {}}
	if err := backend.install(t.Context(), quiet); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := backend.remove(t.Context(), quiet); err != nil {
			t.Error(err)
		}
	}()
	got := keptDependencies(t, backend.name)
	if !slices.Contains(got, "netprofm") || slices.Contains(got, "iphlpsvc") || len(got) != len(before)+1 {
		t.Errorf("depends on %v, before there were %v", got, before)
	}
	// What changes is seen by the next install.
	starts(t, connection, "netprofm", windows.SERVICE_DISABLED)
	starts(t, connection, "iphlpsvc", windows.SERVICE_DEMAND_START)
	if err := backend.install(t.Context(), quiet); err != nil {
		t.Fatal(err)
	}
	if got := keptDependencies(t, backend.name); !slices.Contains(got, "iphlpsvc") || slices.Contains(got, "netprofm") {
		t.Errorf("depends on %v", got)
	}
}

// starts changes how a service is started.
func starts(t *testing.T, connection *mgr.Mgr, name string, start uint32) {
	t.Helper()
	opened, err := connection.OpenService(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = opened.Close() }()
	const same = windows.SERVICE_NO_CHANGE
	if err := windows.ChangeServiceConfig(opened.Handle, same, start, same, nil, nil, nil, nil, nil, nil, nil); err != nil {
		t.Fatal(err)
	}
}
