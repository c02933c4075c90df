package tunnel

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/google/uuid"
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

// A disk that is full, or that has become read-only, keeps the old state, and
// nothing else is left on it.
func TestDiskThatRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		refuse func(dir string) error // after the old state was saved
		want   error
	}{
		"full": {func(string) error { return nil }, syscall.ENOSPC},
		"read-only": {func(dir string) error {
			return unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, "")
		}, syscall.EROFS},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			inMountNamespace(t, func(t *testing.T) {
				if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
					t.Errorf("mount: %v", err)
					return
				}
				defer func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }()
				disk, err := openStore(dir)
				if err != nil {
					t.Error(err)
					return
				}
				old := full(t)
				if err := disk.save(old); err != nil {
					t.Error(err)
					return
				}
				if err := test.refuse(dir); err != nil {
					t.Error(err)
					return
				}
				large := full(t)
				large.Nodes[uuid.New()] = bytes.Repeat([]byte{1}, 1<<20)
				for range 3 {
					if err := disk.save(large); !errors.Is(err, test.want) {
						t.Errorf("save: %v", err)
					}
				}
				if back, found, err := disk.load(); err != nil || !found || back.ClientID != old.ClientID {
					t.Errorf("afterwards %v, %v", found, err)
				}
				if left, _ := filepath.Glob(filepath.Join(dir, tempPattern)); len(left) > 0 {
					t.Errorf("left over: %v", left)
				}
			})
		})
	}
}
