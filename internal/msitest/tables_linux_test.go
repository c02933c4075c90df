package msitest

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// rows reads a table of a package: by column, without the heading.
func rows(t *testing.T, msi, table string) []map[string]string {
	t.Helper()
	lines := strings.Split(strings.TrimRight(strings.ReplaceAll(must(t, nil, "msiinfo", "export", msi, table), "\r", ""), "\n"), "\n")
	if len(lines) < 4 {
		t.Fatalf("%s: the table %s is empty", filepath.Base(msi), table)
	}
	columns := strings.Split(lines[0], "\t")
	var read []map[string]string
	for _, line := range lines[3:] {
		row := map[string]string{}
		for i, field := range strings.Split(line, "\t") {
			row[columns[i]] = field
		}
		read = append(read, row)
	}
	return read
}

// column is the values of one column by those of another.
func column(t *testing.T, msi, table, by, of string) map[string]string {
	t.Helper()
	values := map[string]string{}
	for _, row := range rows(t, msi, table) {
		values[row[by]] = row[of]
	}
	return values
}

func wants(t *testing.T, what string, got, want map[string]string) {
	t.Helper()
	for key, value := range want {
		if got[key] != value {
			t.Errorf("%s: %s is %q, want %q", what, key, got[key], value)
		}
	}
}

// TestInstallers builds all packages of Windows, with programs that do nothing,
// twice.
func TestInstallers(t *testing.T) {
	rigs(t, false)
	w := newWork(t)
	w.stubs(t, "windows", ".exe")
	for _, out := range []string{"first", "second"} {
		said, err := w.build(t, "packaging/windows/build.sh", "1.2.3~rc.2", out)
		if err != nil || !strings.Contains(said, "without-wintun") {
			t.Fatalf("it says %q, %v", said, err)
		}
	}
	if files := same(t, w.path("first"), w.path("second")); files != 16 {
		t.Errorf("%d files, want 16: two installers, two archives and four lists for each processor", files)
	}
	for arch, template := range map[string]string{"x64": "x64;1033", "arm64": "Arm64;1033"} {
		daemon := w.path("first/causeway-1.2.3~rc.2-" + arch + "-without-wintun.msi")
		tray := w.path("first/causeway-tray-1.2.3~rc.2-" + arch + ".msi")
		t.Run(arch, func(t *testing.T) {
			for _, msi := range []string{daemon, tray} {
				if got := must(t, nil, "msiinfo", "suminfo", msi); !strings.Contains(got, "Template: "+template+"\n") {
					t.Errorf("%s: %s", msi, got)
				}
				checkVersions(t, msi)
			}
			checkDaemon(t, daemon)
			checkTray(t, tray)
		})
	}
	codes := map[string]bool{}
	for _, msi := range glob(t, w.path("first/*.msi")) {
		codes[column(t, msi, "Property", "Property", "Value")["ProductCode"]] = true
	}
	if len(codes) != 4 {
		t.Errorf("product codes %v, want one for each of 4 packages", codes)
	}
	t.Run("wintun", func(t *testing.T) { checkWintun(t, w) })
	t.Run("incomplete", func(t *testing.T) { checkNoise(t, w) })
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) == 0 {
		t.Fatalf("%s: %v", pattern, err)
	}
	return found
}

// checkVersions: what is older goes, of the same number too, and what is newer
// stays; nothing is done on a Windows that is too old.
func checkVersions(t *testing.T, msi string) {
	t.Helper()
	const version = "1.2.3202"
	properties := column(t, msi, "Property", "Property", "Value")
	wants(t, "Property", properties, map[string]string{"ProductVersion": version, "ALLUSERS": "1", "REBOOT": "ReallySuppress", "MSIRESTARTMANAGERCONTROL": "Disable"})
	for _, property := range []string{"WINDOWSMAJOR", "WIX_UPGRADE_DETECTED", "WIX_DOWNGRADE_DETECTED"} {
		if !slices.Contains(strings.Split(properties["SecureCustomProperties"], ";"), property) {
			t.Errorf("%s would be lost on the way to the service: %q", property, properties["SecureCustomProperties"])
		}
	}
	for _, row := range rows(t, msi, "Upgrade") {
		want := map[string]string{"VersionMax": version, "VersionMin": "", "Attributes": "513"}
		if row["ActionProperty"] == "WIX_DOWNGRADE_DETECTED" {
			want = map[string]string{"VersionMax": "", "VersionMin": version, "Attributes": "2"}
		}
		want["UpgradeCode"] = properties["UpgradeCode"]
		wants(t, "Upgrade "+row["ActionProperty"], row, want)
	}
	conditions := column(t, msi, "LaunchCondition", "Condition", "Description")
	for _, condition := range []string{"NOT WIX_DOWNGRADE_DETECTED", "Installed OR WINDOWSMAJOR"} {
		if conditions[condition] == "" {
			t.Errorf("the condition %q is missing in %v", condition, conditions)
		}
	}
	wants(t, "RegLocator", rows(t, msi, "RegLocator")[0], map[string]string{"Root": "2", "Name": "CurrentMajorVersionNumber", "Type": "18"})
	inOrder(t, msi, "InstallUISequence", "AppSearch", "LaunchConditions", "ExecuteAction")
	// Between these two the old product goes in the same transaction: what fails
	// later brings it back.
	inOrder(t, msi, "InstallExecuteSequence", "FindRelatedProducts", "AppSearch", "LaunchConditions", "InstallValidate", "InstallInitialize", "RemoveExistingProducts", "ProcessComponents")
	for file, says := range column(t, msi, "File", "FileName", "Version") {
		if want := map[bool]string{true: version + ".0"}[strings.HasSuffix(file, ".exe")]; says != want {
			t.Errorf("%s has the version %q, want %q", file, says, want)
		}
	}
}

// inOrder: one action comes after the other.
func inOrder(t *testing.T, msi, table string, actions ...string) {
	t.Helper()
	numbers, before := column(t, msi, table, "Action", "Sequence"), 0
	for _, action := range actions {
		number, err := strconv.Atoi(numbers[action])
		if err != nil || number <= before {
			t.Errorf("%s: %s is at %q, after %d", table, action, numbers[action], before)
		}
		before = number
	}
}

// The kinds of actions (msidefs.h).
const (
	fileProgram, dirProgram = 18, 34
	ignored                 = 64
	noWait                  = 128 + 64
	onRollback              = 256
	onCommit                = 512
	deferred                = 1024
	asSystem                = 2048
)

func checkDaemon(t *testing.T, msi string) {
	t.Helper()
	wants(t, "ServiceInstall", rows(t, msi, "ServiceInstall")[0], map[string]string{
		"Name": "causewayd", "ServiceType": "16", "StartType": "2", "ErrorControl": "1", "StartName": "LocalSystem", "Arguments": "run --service", "Component_": "Daemon",
	})
	const onInstall, stopBoth, deleteOnRemoval = 1, 2 + 32, 128
	wants(t, "ServiceControl", rows(t, msi, "ServiceControl")[0], map[string]string{
		"Name": "causewayd", "Event": strconv.Itoa(onInstall + stopBoth + deleteOnRemoval), "Wait": "1", "Component_": "Daemon",
	})
	wants(t, "Environment", rows(t, msi, "Environment")[0], map[string]string{"Name": "=-*PATH", "Value": "[~];[INSTALLDIR]", "Component_": "CommandLine"})
	wants(t, "Registry", column(t, msi, "Registry", "Name", "Value"), map[string]string{
		"CustomSource": "#1", "EventMessageFile": `#%%SystemRoot%\System32\EventCreate.exe`, "TypesSupported": "#7",
	})
	const forget = `"[System64Folder]cmd.exe" /d /c rmdir /s /q "[CommonAppDataFolder]Causeway"`
	actions := map[string]struct {
		kind            int
		does, condition string
	}{
		"HandOver":       {fileProgram + deferred + asSystem + ignored, "stop --hand-over", "UPGRADINGPRODUCTCODE"},
		"CleanUp":        {fileProgram + deferred + asSystem + ignored, "cleanup", `REMOVE~="ALL" AND NOT UPGRADINGPRODUCTCODE`},
		"Configure":      {fileProgram + deferred + asSystem, "install", `NOT REMOVE~="ALL"`},
		"ConfigureAgain": {fileProgram + deferred + onRollback + asSystem + ignored, "install", `REMOVE~="ALL"`},
		"LetInstaller":   {fileProgram + deferred + asSystem + ignored, "operator add [UserSID]", `NOT Installed AND NOT WIX_UPGRADE_DETECTED AND UserSID <> "S-1-5-18"`},
		"Forget":         {dirProgram + deferred + onCommit + asSystem + ignored, forget, `REMOVE~="ALL" AND NOT UPGRADINGPRODUCTCODE AND NOT KEEPSTATE`},
		"ForgetFailed":   {dirProgram + deferred + onRollback + asSystem + ignored, forget, "NOT Installed AND NOT WIX_UPGRADE_DETECTED AND NOT STATEFOUND"},
	}
	conditions := column(t, msi, "InstallExecuteSequence", "Action", "Condition")
	for _, row := range rows(t, msi, "CustomAction") {
		want, known := actions[row["Action"]]
		if !known || row["Type"] != strconv.Itoa(want.kind) || row["Target"] != want.does || conditions[row["Action"]] != want.condition {
			t.Errorf("action %v if %q", row, conditions[row["Action"]])
		}
		delete(actions, row["Action"])
	}
	if len(actions) != 0 {
		t.Errorf("missing actions: %v", actions)
	}
	const sequence = "InstallExecuteSequence"
	// The daemon is asked to hand over before it is stopped, the host is put back
	// while the programs are there, and what is kept goes when nothing can fail.
	inOrder(t, msi, sequence, "InstallInitialize", "ForgetFailed", "HandOver", "StopServices", "CleanUp", "ConfigureAgain", "DeleteServices", "RemoveRegistryValues",
		"RemoveEnvironmentStrings", "RemoveFiles", "InstallFiles", "WriteRegistryValues", "WriteEnvironmentStrings", "InstallServices", "Configure", "LetInstaller",
		"StartServices", "Forget", "InstallFinalize")
	if files := len(rows(t, msi, "File")); files != 4 {
		t.Errorf("%d files, want two programs and two papers", files)
	}
}

func checkTray(t *testing.T, msi string) {
	t.Helper()
	wants(t, "Shortcut", rows(t, msi, "Shortcut")[0], map[string]string{"Directory_": "ProgramMenuFolder", "Name": "Causeway", "Target": "[#causeway_tray.exe]"})
	wants(t, "Registry", rows(t, msi, "Registry")[0], map[string]string{
		"Root": "2", "Key": `SOFTWARE\Microsoft\Windows\CurrentVersion\Run`, "Name": "CausewayTray", "Value": `"[INSTALLDIR]causeway-tray.exe"`, "Component_": "Autostart",
	})
	// Only who asks for it has it started for everybody.
	wants(t, "Feature", column(t, msi, "Feature", "Feature", "Level"), map[string]string{"Main": "1", "Autostart": "100"})
	wants(t, "FeatureComponents", column(t, msi, "FeatureComponents", "Component_", "Feature_"), map[string]string{"Autostart": "Autostart", "Tray": "Main"})
	wants(t, "CustomAction", column(t, msi, "CustomAction", "Action", "Type"), map[string]string{
		"EndTrays": strconv.Itoa(dirProgram + deferred + asSystem + ignored), "StartTray": strconv.Itoa(fileProgram + noWait),
	})
	inOrder(t, msi, "InstallExecuteSequence", "RemoveExistingProducts", "EndTrays", "RemoveShortcuts", "RemoveFiles", "InstallFiles", "CreateShortcuts", "InstallFinalize", "StartTray")
}

// checkWintun: another library than the daemon loads is in no package.
func checkWintun(t *testing.T, w work) {
	library := w.path("wintun.dll")
	if err := os.WriteFile(library, []byte("MZ, planted"), 0o644); err != nil {
		t.Fatal(err)
	}
	said, err := w.build(t, "packaging/windows/build.sh", "1.2.3", "planted", "ARCHES=amd64", "NAMES=causeway", "WINTUN_DLL_AMD64="+library)
	if err == nil || !strings.Contains(said, "loads only e5da8447") {
		t.Errorf("it says %q, %v", said, err)
	}
	if found, _ := filepath.Glob(w.path("planted/*.msi")); len(found) != 0 {
		t.Errorf("there is %v", found)
	}
	// With the library it is a component of its own.
	dir := t.TempDir()
	for _, name := range []string{"causewayd.exe", "causeway.exe", "wintun.dll", "LICENSE.txt", "THIRD_PARTY_LICENSES.txt", "causeway.ico"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	source := filepath.Join(dir, "causeway.wxs")
	must(t, nil, "cp", "packaging/windows/causeway.wxs", source)
	msi := filepath.Join(dir, "x.msi")
	must(t, nil, "wixl", "-a", "x64", "-D", "Version=1.2.3500", "-D", "Full=1.2.3", "-D", "Wintun=yes", "-D", "ProductCode=6F0C3F4E-5B43-5D6A-9A3E-6A1F0C0E7A19", "-o", msi, source)
	wants(t, "File", column(t, msi, "File", "FileName", "Component_"), map[string]string{"wintun.dll": "Driver"})
}

// checkNoise: what wixl leaves out it only mentions, and then there is no
// package.
func checkNoise(t *testing.T, w work) {
	dir := w.path("noisy")
	must(t, nil, "mkdir", "-p", dir)
	must(t, nil, "sh", "-euc", `
		printf '#!/bin/sh\necho "WARNING: no property named X" >&2\nexec %s "$@"\n' "$(command -v wixl)" > "$1/wixl"
		chmod 755 "$1/wixl"`, "sh", dir)
	said, err := w.build(t, "packaging/windows/build.sh", "1.2.3", "noise", "ARCHES=amd64", "NAMES=causeway-tray", "PATH="+dir+":"+os.Getenv("PATH"))
	if err == nil || !strings.Contains(said, "no property named X") {
		t.Errorf("it says %q, %v", said, err)
	}
}
