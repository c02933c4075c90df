package packagetest

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// scratch is a root file system with a rpm database and a systemctl that notes
// how it was called.
type scratch struct {
	root string
	db   string
}

// newScratch copies what scriptlets need: a shell and its tools.
func newScratch(t *testing.T) scratch {
	t.Helper()
	s := scratch{root: t.TempDir(), db: "/var/lib/rpm"}
	for _, dir := range []string{"usr/bin", "etc", "run/systemd/system", "var/lib/rpm", "tmp", "dev"} {
		must(t, os.MkdirAll(filepath.Join(s.root, dir), 0o755))
	}
	for _, link := range []string{"bin", "sbin"} {
		must(t, os.Symlink("usr/bin", filepath.Join(s.root, link)))
	}
	for _, tool := range []string{"sh", "cat"} {
		s.copyTool(t, tool)
	}
	s.put(t, "usr/bin/systemctl", "#!/bin/sh\nprintf 'systemctl %s\\n' \"$*\" >>/record\n[ \"$1\" != show ] || cat /state\n")
	s.put(t, "state", "active\n")
	return s
}

// copyTool takes a program and its libraries from this machine.
func (s scratch) copyTool(t *testing.T, tool string) {
	t.Helper()
	path, err := exec.LookPath(tool)
	must(t, err)
	path, err = filepath.EvalSymlinks(path)
	must(t, err)
	must(t, exec.Command("cp", "-L", path, filepath.Join(s.root, "usr/bin", tool)).Run())
	output, err := exec.Command("ldd", path).Output()
	must(t, err)
	for _, library := range regexp.MustCompile(`/\S+`).FindAllString(string(output), -1) {
		must(t, os.MkdirAll(filepath.Join(s.root, filepath.Dir(library)), 0o755))
		must(t, exec.Command("cp", "-L", library, filepath.Join(s.root, library)).Run())
	}
}

func (s scratch) put(t *testing.T, path, content string) {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(s.root, path), []byte(content), 0o755))
}

// scriptlet is what rpm says of each that it runs.
var scriptlet = regexp.MustCompile(`(?m)^D: +(%\w+)\((causeway-[0-9.]+)-1\.x86_64\): scriptlet start`)

// rpm changes the scratch root, in a network of its own, and returns which
// scriptlets ran, what they called, and what they said.
func (s scratch) rpm(t *testing.T, args ...string) (ran, calls []string, said string) {
	t.Helper()
	must(t, os.RemoveAll(filepath.Join(s.root, "record")))
	cmd := exec.CommandContext(t.Context(), "rpm", append([]string{"-vv", "--force-debian", "--nodeps", "--nosignature", "--root", s.root, "--dbpath", s.db}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	cmd.Env = append(os.Environ(), "SUDO_UID=1000")
	output, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("rpm %v: %v: %s", args, err, output)
	}
	for _, found := range scriptlet.FindAllStringSubmatch(string(output), -1) {
		ran = append(ran, found[1]+" "+found[2])
	}
	record, err := os.ReadFile(filepath.Join(s.root, "record"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return ran, strings.FieldsFunc(string(record), func(r rune) bool { return r == '\n' }), string(output)
}

func (s scratch) expect(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n%s\nwant:\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func rpmFile(version string) string {
	return filepath.Join(packages, "v"+version, "causeway-"+version+"-1.x86_64.rpm")
}

// stand puts a causewayd there that notes how it was called, as every tool does.
func (s scratch) stand(t *testing.T) {
	s.put(t, "usr/bin/causewayd", "#!/bin/sh\nprintf 'causewayd %s\\n' \"$*\" >>/record\n")
}

// TestRPM is the life of the rpm in a scratch root: which scriptlets run, in
// which order, and what they have systemd do.
func TestRPM(t *testing.T) {
	whole(t)
	if output, err := exec.Command("../../scripts/deps.sh", "rpm").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	s := newScratch(t)
	over := []string{reload, ask, "systemctl restart causewayd.service"}
	config := filepath.Join(s.root, "etc/causeway/causeway.yaml")

	ran, calls, _ := s.rpm(t, "-i", rpmFile(first))
	s.expect(t, "install ran", ran, []string{"%post causeway-" + first})
	s.expect(t, "install called", calls, []string{"systemctl --no-reload enable causewayd.service", reload, "systemctl start causewayd.service"})
	must(t, os.WriteFile(config, []byte("log-level: debug\n"), 0o644))

	ran, calls, _ = s.rpm(t, "-U", rpmFile(next))
	s.expect(t, "upgrade ran", ran, []string{"%post causeway-" + next, "%preun causeway-" + first, "%postun causeway-" + first})
	s.expect(t, "upgrade called", calls, over)

	ran, calls, _ = s.rpm(t, "-U", "--oldpackage", rpmFile(first))
	s.expect(t, "downgrade ran", ran, []string{"%post causeway-" + first, "%preun causeway-" + next, "%postun causeway-" + next})
	s.expect(t, "downgrade called", calls, over)
	if text, err := os.ReadFile(config); err != nil || string(text) != "log-level: debug\n" {
		t.Errorf("the settings are %q, %v", text, err)
	}

	s.put(t, "state", "inactive\n")
	_, calls, _ = s.rpm(t, "-U", rpmFile(next))
	s.expect(t, "upgrade of a stopped one called", calls, over[:2])

	s.stand(t)
	must(t, os.MkdirAll(filepath.Join(s.root, "var/lib/causeway"), 0o700))
	ran, calls, _ = s.rpm(t, "-e", "causeway")
	s.expect(t, "erase ran", ran, []string{"%preun causeway-" + next, "%postun causeway-" + next})
	s.expect(t, "erase called", calls, []string{
		"systemctl --no-reload disable causewayd.service", "systemctl stop causewayd.service causewayd-restore.service", "causewayd cleanup", reload, forgive,
	})
	var left []string
	must(t, filepath.WalkDir(s.root, func(path string, _ os.DirEntry, err error) error {
		if strings.Contains(filepath.Base(path), "causeway") {
			left = append(left, strings.TrimPrefix(path, s.root))
		}
		return err
	}))
	// rpm keeps settings that were changed, and never knew of the state.
	s.expect(t, "left after erase", left, []string{"/etc/causeway", "/etc/causeway/causeway.yaml.rpmsave", "/var/lib/causeway"})
	figure(t, "rpm: install, upgrade, downgrade, upgrade of a stopped one, erase: %d calls, each in its place", 3+3+3+2+5)
}
