package hosts

import (
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
)

// modeOfNew is all that package os tells about a file that may be written.
const modeOfNew = fs.FileMode(0o666)

// underWine skips tests of the machine's own files and keys elsewhere.
func underWine(t *testing.T) {
	t.Helper()
	if os.Getenv("CAUSEWAY_WINE") != "1" {
		t.Skip("changes the machine; scripts/wine.sh runs it")
	}
}

func TestMissingFileHasCRLF(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hosts")
	mustSet(t, path, one)
	got := contentOf(t, path)
	if strings.Count(got, CRLF) != 3 || strings.Count(got, LF) != 3 {
		t.Errorf("got %q", got)
	}
}

func TestReadOnlyFile(t *testing.T) {
	path := hostsFile(t, localhost)
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		t.Fatal(err)
	}
	const attributes = windows.FILE_ATTRIBUTE_READONLY | windows.FILE_ATTRIBUTE_HIDDEN
	if err := windows.SetFileAttributes(name, attributes); err != nil {
		t.Fatal(err)
	}
	for _, entries := range [][]Entry{one, two, nil} {
		mustSet(t, path, entries)
		if got, err := windows.GetFileAttributes(name); err != nil || got&windows.FILE_ATTRIBUTE_READONLY == 0 {
			t.Errorf("attributes %#x, %v", got, err)
		}
	}
	if got := contentOf(t, path); got != localhost {
		t.Errorf("got %q", got)
	}
	onlyFiles(t, filepath.Dir(path), "hosts")
}

// TestHalfReplaced has what ReplaceFileW leaves with each of its errors.
func TestHalfReplaced(t *testing.T) {
	for _, c := range []struct {
		title         string
		err           error
		moved, hinder bool // the target has its old name; the new one cannot be moved
		want          string
	}{
		{"could not remove", windows.ERROR_UNABLE_TO_REMOVE_REPLACED, false, false, "old"},
		{"could not move", windows.ERROR_UNABLE_TO_MOVE_REPLACEMENT, false, false, "old"},
		{"moved half", windows.ERROR_UNABLE_TO_MOVE_REPLACEMENT_2, true, false, "new"},
		{"moved half, and no further", windows.ERROR_UNABLE_TO_MOVE_REPLACEMENT_2, true, true, "old"},
		{"held", windows.ERROR_SHARING_VIOLATION, false, false, "old"},
		{"mapped", windows.ERROR_USER_MAPPED_FILE, false, false, "old"},
		{"done", nil, false, false, "old"},
	} {
		target := hostsFile(t, "old")
		name := tempName(target)
		if err := os.WriteFile(name, []byte("new"), 0o644); err != nil {
			t.Fatal(err)
		}
		if c.moved {
			if err := os.Rename(target, oldName(target)); err != nil {
				t.Fatal(err)
			}
		}
		if c.hinder {
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
		}
		err := settle(c.err, name, target)
		if (err == nil) != (c.want == "new" || c.err == nil) || err != nil && !errors.Is(err, c.err) {
			t.Errorf("%s: %v", c.title, err)
		}
		if got := contentOf(t, target); got != c.want {
			t.Errorf("%s: the file is %q", c.title, got)
		}
		if _, err := os.Lstat(oldName(target)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: the old file is still there: %v", c.title, err)
		}
	}
}

// TestDiedHalfWay: the process died while the file had another name.
func TestDiedHalfWay(t *testing.T) {
	path := hostsFile(t, localhost)
	if err := os.Rename(path, oldName(path)); err != nil {
		t.Fatal(err)
	}
	mustSet(t, path, two)
	if got := contentOf(t, path); got != localhost+section(t, two) {
		t.Errorf("got %q", got)
	}
	// It died after the file was replaced.
	if err := os.WriteFile(oldName(path), []byte("waste"), 0o644); err != nil {
		t.Fatal(err)
	}
	mustSet(t, path, nil)
	if got := contentOf(t, path); got != localhost {
		t.Errorf("got %q", got)
	}
	onlyFiles(t, filepath.Dir(path), "hosts")
}

func TestSystemPath(t *testing.T) {
	if path := SystemPath(); !strings.EqualFold(path, `C:\windows\system32\drivers\etc\hosts`) && os.Getenv("CAUSEWAY_WINE") == "1" {
		t.Errorf("got %s", path)
	}
	underWine(t)
	key, _, err := registry.CreateKey(registry.LOCAL_MACHINE, parametersKey, registry.SET_VALUE)
	if err != nil {
		t.Fatal(err)
	}
	defer key.Close()
	defer key.DeleteValue(databaseValue)
	usual := SystemPath()
	for _, c := range []struct{ value, want string }{
		{`%SystemRoot%\elsewhere\`, `C:\windows\elsewhere\hosts`}, {`D:\etc`, `D:\etc\hosts`}, {"", usual}, {"relative", usual}, {`%nothing%\etc`, usual},
	} {
		if err := key.SetExpandStringValue(databaseValue, c.value); err != nil {
			t.Fatal(err)
		}
		if got := SystemPath(); !strings.EqualFold(got, c.want) {
			t.Errorf("%q: got %s, want %s", c.value, got, c.want)
		}
	}
}

const holdVariable = "CAUSEWAY_HOLD_FILE"

// TestHolder is the other process of TestHeldFile.
func TestHolder(t *testing.T) {
	path := os.Getenv(holdVariable)
	if path == "" {
		t.Skip("not the other process of TestHeldFile")
	}
	file, err := open(path, windows.GENERIC_READ, 0, windows.OPEN_EXISTING, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	os.Stdout.WriteString("held\n")
	io.Copy(io.Discard, os.Stdin) // until told to let go
}

// hold has another process open a file without sharing, until release.
func hold(t *testing.T, path string) (release func()) {
	t.Helper()
	holder := exec.Command(os.Args[0], "-test.run=^TestHolder$")
	holder.Env = append(os.Environ(), holdVariable+"="+path)
	input, err := holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(output).ReadString('\n'); err != nil || strings.TrimSpace(line) != "held" {
		t.Fatalf("holder said %q, %v", line, err)
	}
	return func() {
		input.Close()
		if err := holder.Wait(); err != nil {
			t.Error(err)
		}
	}
}

// TestHeldFile has another program hold the system's hosts file, as endpoint
// security does: Set does not wait, nothing is lost, and the write lands.
func TestHeldFile(t *testing.T) {
	underWine(t)
	path := SystemPath()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	before := "127.0.0.1 localhost\r\n192.0.2.1   printer\t# mine\r\n"
	for _, seconds := range []time.Duration{3, 20} {
		if err := os.WriteFile(path, []byte(before), 0o644); err != nil {
			t.Fatal(err)
		}
		w := NewWriter(path, slog.New(slog.DiscardHandler))
		release := hold(t, path)
		began := time.Now()
		w.Set(one)
		w.Set(two)
		if took := time.Since(began); took > 100*time.Millisecond {
			t.Errorf("Set took %v", took)
		}
		time.Sleep(seconds * time.Second)
		if s := w.Status(); !s.Pending || s.Err != nil {
			t.Errorf("while it is held: %+v", s)
		}
		release()
		freed := time.Now()
		for w.Status().Pending && time.Since(freed) < 2*lastRetry {
			time.Sleep(20 * time.Millisecond)
		}
		t.Logf("held for %d s, written %v after it was let go", seconds, time.Since(freed).Round(time.Millisecond))
		want, err := add([]byte(before), two, CRLF, false)
		if err != nil {
			t.Fatal(err)
		}
		if got := contentOf(t, path); got != string(want) {
			t.Errorf("got %q", got)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		if err := w.Remove(ctx); err != nil {
			t.Error(err)
		}
		cancel()
		if got := contentOf(t, path); got != before {
			t.Errorf("removed: %q", got)
		}
		onlyFiles(t, filepath.Dir(path), others(t, path)...)
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}
}

// others are the files of Windows in the directory, and the hosts file.
func others(t *testing.T, path string) []string {
	t.Helper()
	var names []string
	for _, name := range []string{"hosts", "networks", "protocol", "services"} {
		if _, err := os.Stat(filepath.Join(filepath.Dir(path), name)); err == nil {
			names = append(names, name)
		}
	}
	return names
}
