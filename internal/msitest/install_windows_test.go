package msitest

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
	"golang.org/x/sys/windows/svc"
	"golang.org/x/sys/windows/svc/mgr"
)

const (
	programs   = `C:\Program Files\Causeway`
	state      = `C:\ProgramData\Causeway`
	rig        = `C:\rig`
	runKey     = `SOFTWARE\Microsoft\Windows\CurrentVersion\Run`
	versionKey = `SOFTWARE\Microsoft\Windows NT\CurrentVersion`
	majorValue = "CurrentMajorVersionNumber"

	installFailed = 1603 // ERROR_INSTALL_FAILURE
	// actionFailed is what Wine says where Windows says 1603: ERROR_FUNCTION_FAILED.
	actionFailed = 1627
)

// machine is a fresh Windows with the packages of Linux' side of this rig.
type machine struct {
	t        *testing.T
	packages string
	before   inventory
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	packages := os.Getenv("CAUSEWAY_MSI")
	if packages == "" {
		t.Skip("installs packages; TestUnderWine of Linux runs it")
	}
	if err := os.MkdirAll(rig, 0o755); err != nil {
		t.Fatal(err)
	}
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"install.exe", "msiexec.exe", "causeway-tray.exe"} {
		copyFile(t, own, filepath.Join(rig, name))
	}
	m := &machine{t: t, packages: packages}
	m.modern(true)
	// Keys that Windows has and Wine has not, or empty, are not ours to remove.
	for _, path := range []string{services + `EventLog\Application`, runKey} {
		key, _, err := registry.CreateKey(registry.LOCAL_MACHINE, path, registry.SET_VALUE)
		if err != nil {
			t.Fatal(err)
		}
		if err := key.SetStringValue("Another", "program"); err != nil {
			t.Fatal(err)
		}
		key.Close()
	}
	t.Cleanup(m.clear)
	m.before = takeInventory(t)
	return m
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	content, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, content, 0o755); err != nil {
		t.Fatal(err)
	}
}

// modern: Wine says only some of what Windows 10 says of itself.
func (m *machine) modern(is bool) {
	m.t.Helper()
	key, err := registry.OpenKey(registry.LOCAL_MACHINE, versionKey, registry.SET_VALUE)
	if err != nil {
		m.t.Fatal(err)
	}
	defer key.Close()
	if is {
		err = key.SetDWordValue(majorValue, 10)
	} else {
		err = key.DeleteValue(majorValue)
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

// clear removes what a failed test left, for the next one.
func (m *machine) clear() {
	for _, name := range []string{"1.2.4+dirty", "1.2.4", "1.2.3"} {
		m.remove(name)
	}
}

func (m *machine) file(version string) string {
	return filepath.Join(m.packages, "causeway-"+version+"-x64-without-wintun.msi")
}

// call runs a program and returns its output and exit code.
func (m *machine) call(name string, args ...string) (string, int) {
	m.t.Helper()
	// Into a file: services that it starts would hold a pipe open.
	file, err := os.Create(filepath.Join(rig, "output"))
	if err != nil {
		m.t.Fatal(err)
	}
	defer file.Close()
	command := exec.Command(name, args...)
	command.Stdout, command.Stderr = file, file
	err = command.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		m.t.Fatalf("%s: %v", name, err)
	}
	output, err := os.ReadFile(file.Name())
	if err != nil {
		m.t.Fatal(err)
	}
	return string(output), command.ProcessState.ExitCode()
}

// install wants an exit code of Windows Installer.
func (m *machine) install(path string, want int, properties ...string) string {
	m.t.Helper()
	output, code := m.call(filepath.Join(rig, "install.exe"), append([]string{path}, properties...)...)
	m.t.Logf("install %s: %d\n%s", filepath.Base(path), code, output)
	if code != want {
		m.t.Fatalf("install %s: exit code %d, want %d", filepath.Base(path), code, want)
	}
	return output
}

func (m *machine) remove(version string, properties ...string) {
	output, code := m.call(`C:\windows\system32\msiexec.exe`, append([]string{"/x", m.file(version), "/qn"}, properties...)...)
	m.t.Logf("remove %s: %d\n%s", version, code, output)
}

// nothingLeft compares the machine with what it was.
func (m *machine) nothingLeft(except ...string) {
	m.t.Helper()
	for _, change := range takeInventory(m.t).since(m.before) {
		if !slices.ContainsFunc(except, func(prefix string) bool { return strings.HasPrefix(change, prefix) }) {
			m.t.Errorf("left: %s", change)
		}
	}
}

// status is what the command line hears on the pipe.
func (m *machine) status() (daemon string) {
	m.t.Helper()
	output, code := m.call(filepath.Join(programs, "causeway.exe"), "status", "--json")
	var status struct {
		State    string `json:"state"`
		Problems []struct {
			Code, Cause, Remedy string
		} `json:"problems"`
		View   string `json:"view"`
		Daemon string `json:"daemon_version"`
	}
	if err := json.Unmarshal([]byte(output), &status); err != nil {
		m.t.Fatalf("%v: %s", err, output)
	}
	if status.State != "failed" || len(status.Problems) != 1 || status.Problems[0].Code != "tun-failed" || status.View != "full" || code == 0 ||
		!strings.Contains(status.Problems[0].Cause, programs+`\wintun.dll is missing`) || status.Problems[0].Remedy != "install Causeway again" {
		m.t.Errorf("exit code %d, status %s", code, output)
	}
	return status.Daemon
}

// service wants the service to run, and returns its process.
func (m *machine) service() uint32 {
	m.t.Helper()
	manager, err := mgr.Connect()
	if err != nil {
		m.t.Fatal(err)
	}
	defer manager.Disconnect()
	name, err := windows.UTF16PtrFromString("causewayd")
	if err != nil {
		m.t.Fatal(err)
	}
	handle, err := windows.OpenService(manager.Handle, name, windows.SERVICE_QUERY_STATUS)
	if err != nil {
		m.t.Fatal(err)
	}
	opened := &mgr.Service{Name: "causewayd", Handle: handle}
	defer opened.Close()
	status, err := opened.Query()
	if err != nil || status.State != svc.Running {
		m.t.Errorf("the service is %+v, %v", status, err)
	}
	return status.ProcessId
}

func text(t *testing.T, key, value string) string {
	t.Helper()
	opened, err := registry.OpenKey(registry.LOCAL_MACHINE, key, registry.QUERY_VALUE)
	if err != nil {
		t.Errorf("%s: %v", key, err)
		return ""
	}
	defer opened.Close()
	got, _, err := opened.GetStringValue(value)
	if err != nil {
		t.Errorf("%s of %s: %v", value, key, err)
	}
	return got
}

const (
	services     = `SYSTEM\CurrentControlSet\Services\`
	searchPath   = `SYSTEM\CurrentControlSet\Control\Session Manager\Environment`
	eventSource  = services + `EventLog\Application\causewayd`
	serviceState = state + `\service.json`
)

// TestOldWindows: nothing is done where Go's programs do not run.
func TestOldWindows(t *testing.T) {
	m := newMachine(t)
	m.modern(false)
	m.before = takeInventory(t)
	m.install(m.file("1.2.3"), installFailed)
	m.nothingLeft()
}

// TestLife installs, upgrades and removes the package.
func TestLife(t *testing.T) {
	m := newMachine(t)
	m.install(m.file("1.2.3"), 0)
	first := m.service()
	m.status()
	if got, want := text(t, services+"causewayd", "ImagePath"), `"`+programs+`\causewayd.exe" run --service`; got != want {
		t.Errorf("the service's command is %q, want %q", got, want)
	}
	if got := text(t, eventSource, "EventMessageFile"); got != `%SystemRoot%\System32\EventCreate.exe` {
		t.Errorf("the event log's texts are in %q", got)
	}
	if got := text(t, searchPath, "PATH"); !strings.HasSuffix(got, `;`+programs+`\`) {
		t.Errorf("programs are looked for in %q", got)
	}
	operators, err := os.ReadFile(serviceState)
	if err != nil || !strings.Contains(string(operators), `"sid": "S-1-5-21-`) {
		t.Errorf("the installing user may not sign in: %s, %v", operators, err)
	}
	if err := os.WriteFile(state+`\causeway.yaml`, []byte("log-level: debug\n"), 0o600); err != nil {
		t.Fatal(err)
	}

	t.Run("upgrade", func(t *testing.T) { upgrade(t, m, "1.2.4", first, operators) })
	t.Run("downgrade", func(t *testing.T) {
		m.install(m.file("1.2.3"), installFailed)
		m.only("1.2.4")
		m.status()
	})
	t.Run("same number", func(t *testing.T) { upgrade(t, m, "1.2.4+dirty", m.service(), operators) })
	t.Run("remove", func(t *testing.T) {
		planted := programs + `\planted.txt`
		if err := os.WriteFile(planted, []byte("another's"), 0o600); err != nil {
			t.Fatal(err)
		}
		m.remove("1.2.4+dirty")
		if got := takeInventory(t).since(m.before); !slices.Equal(got, []string{"+ " + programs, "+ " + planted}) {
			t.Errorf("with another's file there is left:\n%s", strings.Join(got, "\n"))
		}
		if err := os.RemoveAll(programs); err != nil {
			t.Fatal(err)
		}
		m.nothingLeft()
	})
}

// upgrade wants another process, the same state, and one product.
func upgrade(t *testing.T, m *machine, version string, before uint32, kept []byte) {
	output := m.install(m.file(version), 0)
	if !strings.Contains(output, "stop service causewayd for another to go on") || strings.Contains(output, "done: nothing of causeway is left") {
		t.Error("the daemon was not asked to hand over, or the network was put back")
	}
	if m.service() == before {
		t.Error("the old process runs")
	}
	m.status()
	m.only(version)
	for file, want := range map[string][]byte{serviceState: kept, state + `\causeway.yaml`: []byte("log-level: debug\n")} {
		if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is %q, %v, was %q", file, got, err, want)
		}
	}
}

// only wants one product of ours to be registered.
func (m *machine) only(version string) {
	m.t.Helper()
	const uninstall = `SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall`
	key, err := registry.OpenKey(registry.LOCAL_MACHINE, uninstall, registry.READ)
	if err != nil {
		m.t.Fatal(err)
	}
	defer key.Close()
	names, err := key.ReadSubKeyNames(-1)
	if err != nil {
		m.t.Fatal(err)
	}
	var found []string
	for _, name := range names {
		product, err := registry.OpenKey(key, name, registry.QUERY_VALUE)
		if err != nil {
			continue
		}
		if title, _, err := product.GetStringValue("DisplayName"); err == nil && strings.HasPrefix(title, "Causeway") {
			says, _, err := product.GetStringValue("DisplayVersion")
			if err != nil {
				m.t.Error(err)
			}
			found = append(found, says)
		}
		product.Close()
	}
	want := map[string]string{"1.2.3": "1.2.3500", "1.2.4": "1.2.4500", "1.2.4+dirty": "1.2.4500"}[version]
	if !slices.Equal(found, []string{want}) {
		m.t.Errorf("installed are %q, want %q", found, want)
	}
}

// kept is what Wine's rollback leaves: it does not take the registration of
// components back.
var kept = []string{"+ " + installerKey + `\UserData\S-1-5-18\Components\`}

// TestKeepState: who asks for it keeps settings and sign-in.
func TestKeepState(t *testing.T) {
	m := newMachine(t)
	m.install(m.file("1.2.3"), 0)
	m.remove("1.2.3", "KEEPSTATE=1")
	m.nothingLeft("+ " + state)
	if _, err := os.Stat(serviceState); err != nil {
		t.Error(err)
	}
	// A failed installation on top of it is no reason to lose it.
	m.install(m.file("1.2.3-fails"), actionFailed)
	m.nothingLeft(append(kept, "+ "+state)...)
	if _, err := os.Stat(serviceState); err != nil {
		t.Error(err)
	}
	m.install(m.file("1.2.3"), 0)
	m.remove("1.2.3")
	m.nothingLeft()
}

// TestRollback: an installation that fails once the service runs leaves nothing.
func TestRollback(t *testing.T) {
	m := newMachine(t)
	m.install(m.file("1.2.3-fails"), actionFailed)
	m.nothingLeft(kept...)
}

// TestTray: the tray app has its entries, and those that run end with it.
func TestTray(t *testing.T) {
	m := newMachine(t)
	msi := filepath.Join(m.packages, "causeway-tray-1.2.3-x64.msi")
	m.install(msi, 0)
	// In Wine an entry for all users is one of the user.
	const entry = `C:\users\root\AppData\Roaming\Microsoft\Windows\Start Menu\Programs\Causeway.lnk`
	for _, path := range []string{entry, programs + `\causeway-tray.exe`} {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
	if key, err := registry.OpenKey(registry.LOCAL_MACHINE, runKey, registry.QUERY_VALUE); err == nil {
		if value, _, err := key.GetStringValue("CausewayTray"); err == nil {
			t.Errorf("it is started for everybody: %q", value)
		}
		key.Close()
	}
	tray := exec.Command(filepath.Join(rig, "causeway-tray.exe"))
	if err := tray.Start(); err != nil {
		t.Fatal(err)
	}
	if output, code := m.call(`C:\windows\system32\msiexec.exe`, "/x", msi, "/qn"); code != 0 {
		t.Errorf("remove: %d\n%s", code, output)
	}
	if err := tray.Wait(); tray.ProcessState.ExitCode() == notEnded {
		t.Errorf("the tray went on until its end: %v", err)
	}
	m.nothingLeft()
	m.install(msi, 0, "ADDLOCAL=ALL")
	if got := text(t, runKey, "CausewayTray"); got != `"`+programs+`\causeway-tray.exe"` {
		t.Errorf("at login %q is started", got)
	}
	m.call(`C:\windows\system32\msiexec.exe`, "/x", msi, "/qn")
	m.nothingLeft()
}
