package hosts

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// inMountNamespace runs the test on a thread with mounts of its own, which go
// with it.
func inMountNamespace(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: mounts a file system in a namespace of its own")
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
			t.Errorf("unshare: %v", err)
			return
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			t.Errorf("make mounts private: %v", err)
			return
		}
		test(t)
	}()
	<-done
}

func mount(t *testing.T, source, target, kind string, flags uintptr, data string) bool {
	t.Helper()
	if err := unix.Mount(source, target, kind, flags, data); err != nil {
		t.Errorf("mount %s: %v", target, err)
		return false
	}
	return true
}

func TestBindMount(t *testing.T) {
	path := hostsFile(t, localhost)
	elsewhere := hostsFile(t, "192.0.2.1 inside\n")
	inMountNamespace(t, func(t *testing.T) {
		if !mount(t, elsewhere, path, "", unix.MS_BIND, "") {
			return
		}
		defer unix.Unmount(path, unix.MNT_DETACH)
		for _, entries := range [][]Entry{two, one} { // growing and shrinking
			if err := (File{Path: path}).Set(entries); err != nil {
				t.Error(err)
			}
			if got, err := os.ReadFile(elsewhere); err != nil || string(got) != "192.0.2.1 inside\n"+section(t, entries) {
				t.Errorf("got %q %v", got, err)
			}
		}
		if err := (File{Path: path}).Set(nil); err != nil {
			t.Error(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != "192.0.2.1 inside\n" {
			t.Errorf("got %q %v", got, err)
		}
		onlyFiles(t, filepath.Dir(path), "hosts")
	})
}

// TestReadOnlyDirectory has a file that may be written in a directory that may
// not, as under systemd's ProtectSystem with one exception.
func TestReadOnlyDirectory(t *testing.T) {
	path := hostsFile(t, localhost)
	dir := filepath.Dir(path)
	inMountNamespace(t, func(t *testing.T) {
		if !mount(t, path, path, "", unix.MS_BIND, "") || !mount(t, dir, dir, "", unix.MS_BIND|unix.MS_REC, "") ||
			!mount(t, "", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "") {
			return
		}
		if err := (File{Path: path}).Set(one); err != nil {
			t.Error(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != localhost+section(t, one) {
			t.Errorf("got %q %v", got, err)
		}
		if !mount(t, "", path, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "") {
			return
		}
		if err := (File{Path: path}).Set(nil); !errors.Is(err, unix.EROFS) {
			t.Errorf("all read-only: %v", err)
		}
	})
}

func TestFullFileSystem(t *testing.T) {
	dir := t.TempDir()
	many := make([]Entry, 0, 2000)
	for range cap(many) {
		many = append(many, two[1])
	}
	inMountNamespace(t, func(t *testing.T) {
		if !mount(t, "tmpfs", dir, "tmpfs", 0, "size=64k") {
			return
		}
		defer unix.Unmount(dir, unix.MNT_DETACH)
		path := filepath.Join(dir, "hosts")
		if err := os.WriteFile(path, []byte(localhost), 0o644); err != nil {
			t.Error(err)
			return
		}
		if err := (File{Path: path}).Set(many); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("replacing: %v", err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != localhost {
			t.Errorf("the file became %q %v", got, err)
		}
		onlyFiles(t, dir, "hosts")
		// Now in place, for it is a mount point.
		if !mount(t, path, path, "", unix.MS_BIND, "") {
			return
		}
		defer unix.Unmount(path, unix.MNT_DETACH)
		before, err := read(path)
		if err != nil {
			t.Error(err)
			return
		}
		if err := overwrite(path, []byte(strings.Repeat("x", 200_000)), before); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("overwriting: %v", err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != localhost {
			t.Errorf("the file became %d bytes, %v", len(got), err)
		}
		if err := (File{Path: path}).Set(one); err != nil {
			t.Error("a small section:", err)
		}
	})
}

const killVariable = "CAUSEWAY_HOSTS_KILLED_AT"

// TestKilledBeforeRename kills a process where it leaves most, three times: one
// temporary file is left, and the next run takes it away.
func TestKilledBeforeRename(t *testing.T) {
	if path := os.Getenv(killVariable); path != "" {
		err := File{Path: path, beforeRename: func() { syscall.Kill(os.Getpid(), syscall.SIGKILL); select {} }}.Set(one)
		t.Fatal("survived:", err)
	}
	path := hostsFile(t, localhost)
	for range 3 {
		command := exec.Command(os.Args[0], "-test.run=^TestKilledBeforeRename$")
		command.Env = append(os.Environ(), killVariable+"="+path)
		var exit *exec.ExitError
		if output, err := command.CombinedOutput(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("%v\n%s", err, output)
		}
		if got := contentOf(t, path); got != localhost {
			t.Fatalf("got %q", got)
		}
		onlyFiles(t, filepath.Dir(path), ".hosts.causeway-tmp", "hosts")
	}
	mustSet(t, path, nil) // nothing to change, and yet it sweeps
	onlyFiles(t, filepath.Dir(path), "hosts")
}

// TestPlantedTempFile has somebody put a link where our temporary file goes.
func TestPlantedTempFile(t *testing.T) {
	path := hostsFile(t, localhost)
	victim := hostsFile(t, "precious")
	if err := os.Symlink(victim, tempName(path)); err != nil {
		t.Fatal(err)
	}
	if err := (File{Path: path}).Set(one); err == nil {
		t.Error("the link was followed or overwritten")
	}
	if got := contentOf(t, victim); got != "precious" {
		t.Errorf("victim became %q", got)
	}
}

func TestOwnerIsKept(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: gives a file to somebody else")
	}
	path := hostsFile(t, localhost)
	if err := os.Chown(path, 12345, 23456); err != nil {
		t.Fatal(err)
	}
	mustSet(t, path, one)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if stat := info.Sys().(*syscall.Stat_t); stat.Uid != 12345 || stat.Gid != 23456 {
		t.Errorf("owner %d:%d", stat.Uid, stat.Gid)
	}
}

func TestPipeDoesNotBlock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hosts")
	if err := unix.Mkfifo(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := (File{Path: path}).Set(one); !errors.Is(err, errNotRegular) {
		t.Errorf("got %v", err)
	}
}
