package platform

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// TestHostsFileReadOnly: Apply does not wait for the hosts file, so that it
// cannot be written is told by Trouble, after a while and until it can be.
func TestHostsFileReadOnly(t *testing.T) {
	needNest(t)
	plainFiles(t)
	dir, state := t.TempDir(), t.TempDir()
	path := filepath.Join(dir, "hosts")
	if err := os.WriteFile(path, []byte("127.0.0.1 localhost\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	remount := func(flags uintptr) {
		t.Helper()
		if err := unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|flags, ""); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	remount(unix.MS_RDONLY)
	synctest.Test(t, func(t *testing.T) {
		o, err := New(Options{
			Logger: slog.New(slog.DiscardHandler), StateDir: state, Hosts: path,
			Bus: "unix:path=" + filepath.Join(state, "no-bus"),
		})
		if err != nil {
			t.Fatal(err)
		}
		defer o.Close()
		// The names are right without an interface too.
		if err := o.Apply(t.Context(), testConfig("cwnone")); !errors.Is(err, ErrNoInterface) || strings.Contains(err.Error(), path) {
			t.Fatal(err)
		}
		if err := o.Trouble(); err != nil {
			t.Errorf("at once: %v", err)
		}
		time.Sleep(time.Minute)
		if err := o.Trouble(); !errors.Is(err, unix.EROFS) || !strings.Contains(err.Error(), path) {
			t.Errorf("after a minute: %v", err)
		}
		remount(0)
		time.Sleep(2 * time.Minute)
		if err := o.Trouble(); err != nil {
			t.Errorf("when it can be written: %v", err)
		}
		mustContain(t, readFile(t, path), "main.myws.me.coder")
	})
}
