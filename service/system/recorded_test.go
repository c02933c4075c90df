package system

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/causewayhq/causeway/service"
)

// The goroutine that go-winio starts at its first pipe is never ended.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/Microsoft/go-winio.ioCompletionProcessor"))
}

// recorder is a service manager's program: it notes each call and answers as a
// test wants.
type recorder struct {
	calls []string
	// answer gives the output and exit code of a call, by its arguments.
	answer func(args string) (output string, code int)
}

func (r *recorder) run(_ context.Context, program string, args ...string) (string, error) {
	line := strings.Join(args, " ")
	r.calls = append(r.calls, program+" "+line)
	output, code := r.answer(line)
	if code != 0 {
		return output, &Refusal{Command: program + " " + line, Code: code, Said: output}
	}
	return output, nil
}

// changing are the calls that change something.
func (r *recorder) changing() []string {
	return slices.DeleteFunc(slices.Clone(r.calls), func(call string) bool {
		for _, reading := range []string{" show ", " is-enabled ", " print ", " print-disabled "} {
			if strings.Contains(call, reading) {
				return true
			}
		}
		return false
	})
}

func (r *recorder) expect(t *testing.T, want ...string) {
	t.Helper()
	if got := r.changing(); !slices.Equal(got, want) {
		t.Errorf("calls:\n  %s\nwant:\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
	r.calls = nil
}

// registered is a registration that writes a file.
type registered struct {
	path    string
	content []byte
	done    func(what string)
}

func (r *registered) Install() error {
	if _, err := os.Lstat(r.path); err == nil {
		return fmt.Errorf("Init already exists: %s", r.path) //nolint:staticcheck // the library's words
	}
	r.done("install")
	return os.WriteFile(r.path, r.content, 0o600)
}

func (r *registered) Uninstall() error {
	r.done("uninstall")
	return os.Remove(r.path)
}

// said collects what was said.
type said []string

func (s *said) say(line string) { *s = append(*s, line) }

func (s *said) String() string { return strings.Join(*s, "\n") }

// tree makes a root directory that has those files.
func tree(t *testing.T, files ...string) string {
	t.Helper()
	root := t.TempDir()
	for _, file := range files {
		path := filepath.Join(root, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(file, "/") {
			if err := os.MkdirAll(path, 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.WriteFile(path, []byte("[Unit]\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// failedWith holds that the error has that exit code, and a remedy.
func failedWith(t *testing.T, err error, want service.Failure, text string) {
	t.Helper()
	var failed *service.Error
	if !errors.As(err, &failed) || failed.Failure != want || !strings.Contains(err.Error(), text) {
		t.Fatalf("error %v, want exit code %d with %q", err, want, text)
	}
	if failed.Remedy == "" {
		t.Errorf("%v has no remedy", err)
	}
}
