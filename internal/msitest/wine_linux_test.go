package msitest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestUnderWine builds the packages of three versions, and one that fails, and
// has the tests of Windows install them.
func TestUnderWine(t *testing.T) {
	rigs(t, true)
	w := newWork(t)
	programs(t, w.path("bin/windows-amd64"))
	for _, number := range []string{"1.2.3", "1.2.4", "1.2.4+dirty"} {
		if _, err := w.build(t, "packaging/windows/build.sh", number, "packages", "ARCHES=amd64", "NAMES=causeway causeway-tray"); err != nil {
			t.Fatal(err)
		}
	}
	failing(t, w)
	said := must(t, []string{"CAUSEWAY_MSI=Z:" + strings.ReplaceAll(w.path("packages"), "/", `\`)}, "scripts/wine.sh", "-v", "-timeout", "4m", "./internal/msitest")
	t.Log(said)
	for _, test := range []string{"TestOldWindows", "TestLife/upgrade", "TestLife/downgrade", "TestLife/same_number", "TestLife/remove", "TestKeepState", "TestRollback", "TestTray"} {
		if !strings.Contains(said, "--- PASS: "+test+" ") {
			t.Errorf("%s did not run", test)
		}
	}
}

// programs builds those that are installed, or takes them from the directory that
// CAUSEWAY_WINDOWS_BIN names.
func programs(t *testing.T, dir string) {
	t.Helper()
	if ready := os.Getenv("CAUSEWAY_WINDOWS_BIN"); ready != "" {
		must(t, nil, "mkdir", "-p", filepath.Dir(dir))
		must(t, nil, "cp", "-R", ready, dir)
		return
	}
	for _, program := range []string{"causewayd", "causeway", "causeway-tray"} {
		must(t, []string{"CGO_ENABLED=0", "GOOS=windows", "GOARCH=amd64", "GOFLAGS="}, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", dir+"/", "./cmd/"+program)
	}
}

// failing makes of the package one whose last action fails, when the service
// runs already.
func failing(t *testing.T, w work) {
	t.Helper()
	msi := w.path("packages/causeway-1.2.3-fails-x64-without-wintun.msi")
	must(t, nil, "cp", w.path("packages/causeway-1.2.3-x64-without-wintun.msi"), msi)
	winpkg := w.path("winpkg")
	must(t, nil, "go", "build", "-o", winpkg, "./internal/winpkg")
	for table, rows := range map[string]string{
		"CustomAction":           "Action\tType\tSource\tTarget\tExtendedType\ns72\ti2\tS72\tS255\tI4\nCustomAction\tAction\nFail\t3106\tTARGETDIR\t\"[System64Folder]cmd.exe\" /d /c exit 1\t\n",
		"InstallExecuteSequence": "Action\tCondition\tSequence\ns72\tS255\tI2\nInstallExecuteSequence\tAction\nFail\tNOT REMOVE\t5950\n",
	} {
		file := filepath.Join(t.TempDir(), table+".idt")
		if err := os.WriteFile(file, []byte(rows), 0o644); err != nil {
			t.Fatal(err)
		}
		must(t, nil, "sh", "-euc", `msiinfo export "$1" "$2" | "$3" overlay "$4" > "$4.new"; mv "$4.new" "$4"; msibuild "$1" -i "$4"`, "sh", msi, table, winpkg, file)
	}
}
