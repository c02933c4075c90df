package msitest

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const epoch = "1793491200"

func TestMain(m *testing.M) {
	code := m.Run()
	for _, dir := range made {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

// made are directories that more than one test uses.
var made []string

func rigs(t *testing.T, all bool) {
	t.Helper()
	switch got := os.Getenv("CAUSEWAY_RIGS"); {
	case got == "":
		t.Skip("builds packages; CAUSEWAY_RIGS=sample or all runs it")
	case all && got != "all":
		t.Skip("needs Wine and all programs of Windows; CAUSEWAY_RIGS=all runs it")
	}
}

// root is the directory of the repository.
const root = "../.."

// run runs a program in the repository; its output is part of what fails.
func run(t *testing.T, environment []string, name string, args ...string) (string, error) {
	t.Helper()
	command := exec.CommandContext(t.Context(), name, args...)
	command.Dir = root
	command.Env = append(os.Environ(), environment...)
	output, err := command.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s %q: %w\n%s", name, args, err, output)
	}
	return string(output), err
}

func must(t *testing.T, environment []string, name string, args ...string) string {
	t.Helper()
	output, err := run(t, environment, name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return output
}

// place is a directory that outlives the test.
func place(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "causeway-msitest-")
	if err != nil {
		t.Fatal(err)
	}
	made = append(made, dir)
	return dir
}

// work is where packages are built: programs in bin, tools beside it.
type work struct {
	dir string
}

func newWork(t *testing.T) work {
	t.Helper()
	w := work{place(t)}
	must(t, nil, "go", "build", "-o", w.path("licenses"), "./internal/licenses")
	must(t, nil, "go", "-C", "tools", "build", "-o", w.path("sbom"), "./sbom")
	return w
}

func (w work) path(name string) string { return filepath.Join(w.dir, name) }

// stubs puts a program that does nothing in the place of each of ours.
func (w work) stubs(t *testing.T, system, suffix string) {
	t.Helper()
	for _, arch := range []string{"amd64", "arm64"} {
		dir := w.path("bin/" + system + "-" + arch)
		must(t, []string{"CGO_ENABLED=0", "GOOS=" + system, "GOARCH=" + arch, "GOFLAGS="}, "go", "build", "-trimpath", "-o", dir+"/causewayd"+suffix, "./internal/msitest/stub")
		content, err := os.ReadFile(dir + "/causewayd" + suffix)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"causeway", "causeway-tray", "causeway-agent", "causeway-server"} {
			if err := os.WriteFile(filepath.Join(dir, name+suffix), content, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// build makes packages of a version; more is added to the environment.
func (w work) build(t *testing.T, script, number, out string, more ...string) (string, error) {
	t.Helper()
	if err := os.MkdirAll(w.path(out), 0o755); err != nil {
		t.Fatal(err)
	}
	return run(t, append([]string{"BINARIES=" + w.path("bin"), "PACKAGES=" + w.path(out), "VERSION=" + number, "NUMBER=" + number, "SOURCE_DATE_EPOCH=" + epoch, "TZ=UTC"}, more...), script)
}

// same compares two directories, byte by byte, and returns how many files there
// are.
func same(t *testing.T, first, second string) int {
	t.Helper()
	files := 0
	err := filepath.WalkDir(first, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		files++
		one, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		other, err := os.ReadFile(filepath.Join(second, strings.TrimPrefix(path, first)))
		if err != nil {
			return err
		}
		if string(one) != string(other) {
			t.Errorf("%s: built twice, and not the same", entry.Name())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
