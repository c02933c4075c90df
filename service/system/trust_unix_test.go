//go:build unix

package system

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/causewayhq/causeway/service"
)

// TestTrusted: root runs the program at every start, so nobody else may be able
// to put another in its place.
func TestTrusted(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to give files away")
	}
	for name, c := range map[string]struct {
		spoil func(dir, program string) error
		text  string
	}{
		"as it should be":       {func(string, string) error { return nil }, ""},
		"sticky directory":      {func(dir, _ string) error { return os.Chmod(dir, 0o777|os.ModeSticky) }, ""},
		"program of a user":     {func(_, program string) error { return os.Chown(program, 1000, 0) }, "belongs to the user 1000"},
		"program for all":       {func(_, program string) error { return os.Chmod(program, 0o757) }, "can be written"},
		"program for the group": {func(_, program string) error { return os.Chmod(program, 0o775) }, "can be written"},
		"directory of a user":   {func(dir, _ string) error { return os.Chown(dir, 1000, 0) }, "belongs to the user 1000"},
		"directory for all":     {func(dir, _ string) error { return os.Chmod(dir, 0o777) }, "can be written"},
		"link to one of a user": {func(dir, program string) error {
			other := filepath.Join(filepath.Dir(dir), "other")
			return firstOf(os.Rename(program, other), os.Chown(other, 1000, 0), os.Symlink(other, program))
		}, "belongs to the user 1000"},
	} {
		t.Run(name, func(t *testing.T) {
			root, err := os.MkdirTemp("/var/lib", "causeway-trust-")
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(root)
			dir := filepath.Join(root, "dir")
			program := filepath.Join(dir, "causewayd")
			if err := firstOf(os.Chmod(root, 0o755), os.Mkdir(dir, 0o755), os.WriteFile(program, nil, 0o755), os.Chmod(program, 0o755), c.spoil(dir, program)); err != nil {
				// The arguments have all run; spoil's among them.
				t.Fatal(err)
			}
			_, err = trusted(program)
			if c.text == "" && err != nil {
				t.Error(err)
			}
			if c.text != "" {
				failedWith(t, err, service.FailureService, c.text)
			}
		})
	}
}

// TestTrustedHasNoLinks: a link, even in a user's own directory, leads to what
// was looked at, and that is what is installed.
func TestTrustedHasNoLinks(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to give files away")
	}
	root, err := os.MkdirTemp("/var/lib", "causeway-trust-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(root)
	program, dir := filepath.Join(root, "causewayd"), filepath.Join(root, "user")
	link := filepath.Join(dir, "causewayd")
	if err := firstOf(os.Chmod(root, 0o755), os.WriteFile(program, nil, 0o755), os.Mkdir(dir, 0o755), os.Symlink(program, link), os.Chown(dir, 1000, 0)); err != nil {
		t.Fatal(err)
	}
	if got, err := trusted(link); got != program || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
