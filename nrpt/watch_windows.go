package nrpt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"strings"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
)

// Watch implements System: two keys of the registry, and the event that group
// policy sets after it was applied. The notifications belong to the thread that
// asked for them, which therefore stays ours.
func (r *Registry) Watch(ctx context.Context, changed func()) error {
	stop, err := windows.CreateEvent(nil, 1, 0, nil)
	if err != nil {
		return fmt.Errorf("create event: %w", err)
	}
	defer closeEvent(stop)
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends, and what it registered with it
		result <- r.watch(stop, changed)
	}()
	select {
	case <-ctx.Done():
		if err := windows.SetEvent(stop); err != nil {
			return fmt.Errorf("end watch of registry: %w", err)
		}
		<-result
		return ctx.Err()
	case err := <-result:
		return err
	}
}

func (r *Registry) watch(stop windows.Handle, changed func()) error {
	var keys [2]keyWatch
	for i, place := range []Place{Local, Policy} {
		if err := keys[i].open(r, r.parent(place)); err != nil {
			return err
		}
		defer keys[i].close()
	}
	handles := []windows.Handle{stop, keys[0].event, keys[1].event}
	if policy, err := windows.CreateEvent(nil, 0, 0, nil); err == nil {
		defer closeEvent(policy)
		if registerGPNotification.Find() == nil {
			if ok, _, _ := registerGPNotification.Call(uintptr(policy), machinePolicy); ok != 0 {
				defer func() { _, _, _ = unregisterGP.Call(uintptr(policy)) }()
				handles = append(handles, policy)
			}
		}
	}
	changed() // what came before the keys were watched was told to nobody
	for {
		which, err := windows.WaitForMultipleObjects(handles, false, windows.INFINITE)
		switch which {
		case windows.WAIT_OBJECT_0:
			return nil
		case windows.WAIT_OBJECT_0 + 1, windows.WAIT_OBJECT_0 + 2:
			if err := keys[which-windows.WAIT_OBJECT_0-1].again(r); err != nil {
				return err
			}
		case windows.WAIT_OBJECT_0 + 3:
		default:
			return fmt.Errorf("wait for change of registry: %w", err)
		}
		changed()
	}
}

// keyWatch watches one key and all below it; while there is no such key, the
// nearest above it that exists. It is the parent of a table that is watched, so
// that the table's own end is seen too.
type keyWatch struct {
	path  string
	event windows.Handle
	key   registry.Key
}

// watchFilter is all that can change about rules.
const watchFilter = windows.REG_NOTIFY_CHANGE_NAME | windows.REG_NOTIFY_CHANGE_LAST_SET

func (w *keyWatch) open(r *Registry, path string) error {
	event, err := windows.CreateEvent(nil, 0, 0, nil)
	if err != nil {
		return fmt.Errorf("create event: %w", err)
	}
	w.path, w.event = path, event
	return w.again(r)
}

func (w *keyWatch) close() {
	w.drop()
	closeEvent(w.event)
}

func (w *keyWatch) drop() {
	if w.key != 0 {
		w.key.Close()
		w.key = 0
	}
}

// again asks for the next change. It is called before anybody looks at what
// the last one was, so that none falls between.
func (w *keyWatch) again(r *Registry) error {
	w.drop()
	for path, below := w.path, ""; ; {
		key, err := w.ask(r, path)
		if err == nil && (below == "" || !r.exists(below)) {
			w.key = key
			return nil
		}
		if err == nil { // what was missing came meanwhile
			key.Close()
			path, below = w.path, ""
			continue
		}
		gone := errors.Is(err, fs.ErrNotExist) || errors.Is(err, windows.ERROR_KEY_DELETED)
		last := strings.LastIndexByte(path, '\\')
		if !gone || last < 0 {
			return &fs.PathError{Op: "watch key", Path: path, Err: err}
		}
		path, below = path[:last], path
	}
}

// ask has the event set at the next change: of anything below the key that is
// meant, or, above it, of what a key directly holds.
func (w *keyWatch) ask(r *Registry, path string) (registry.Key, error) {
	key, err := registry.OpenKey(r.root, path, registry.NOTIFY)
	if err != nil {
		return 0, err
	}
	if err := windows.RegNotifyChangeKeyValue(windows.Handle(key), path == w.path, watchFilter, w.event, true); err != nil {
		key.Close()
		return 0, err
	}
	return key, nil
}

func (r *Registry) exists(path string) bool {
	key, err := registry.OpenKey(r.root, path, registry.NOTIFY)
	if err != nil {
		return false
	}
	key.Close()
	return true
}

// closeEvent has no failure that anybody could act on.
func closeEvent(event windows.Handle) { _ = windows.CloseHandle(event) }
