package nrpt

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
)

// Keys of the table, below HKEY_LOCAL_MACHINE (MS-GPNRPT 2.2).
const (
	localKey = `SYSTEM\CurrentControlSet\Services\Dnscache\Parameters`
	// policyKey need not exist, nor its parent.
	policyKey = `SOFTWARE\Policies\Microsoft\Windows NT\DNSClient`
	tableKey  = `DnsPolicyConfig`
	// retiredKey is beside the table of group policy. Windows reads no such key.
	retiredKey = tableKey + "-causeway-retired"
)

var (
	advapi32       = windows.NewLazySystemDLL("advapi32.dll")
	regSetValueExW = advapi32.NewProc("RegSetValueExW")
	regRenameKey   = advapi32.NewProc("RegRenameKey")
)

// Registry is the table in a registry, and what of Windows goes with it.
type Registry struct {
	root   registry.Key
	prefix string
}

// OpenRegistry returns the table below a key; nothing is opened before it is
// used. The service takes HKEY_LOCAL_MACHINE and "". Tests take a key of their
// own, `Software\something` of the current user, which needs no privilege and
// configures nothing.
func OpenRegistry(root registry.Key, prefix string) *Registry {
	if prefix != "" && !strings.HasSuffix(prefix, `\`) {
		prefix += `\`
	}
	return &Registry{root: root, prefix: prefix}
}

func (r *Registry) parent(place Place) string {
	if place == Policy {
		return r.prefix + policyKey
	}
	return r.prefix + localKey
}

func (r *Registry) table(place Place) string { return r.parent(place) + `\` + tableKey }

func (r *Registry) rule(place Place, id string) string { return r.table(place) + `\` + id }

// List implements Store.
func (r *Registry) List(place Place) (ids []string, exists bool, err error) {
	return r.children(r.table(place))
}

func (r *Registry) children(path string) (names []string, exists bool, err error) {
	key, err := registry.OpenKey(r.root, path, registry.ENUMERATE_SUB_KEYS)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, &fs.PathError{Op: "open key", Path: path, Err: err}
	}
	defer key.Close()
	if names, err = key.ReadSubKeyNames(-1); err != nil {
		return nil, false, &fs.PathError{Op: "list key", Path: path, Err: err}
	}
	return names, true, nil
}

// Read implements Store.
func (r *Registry) Read(place Place, id string) ([]Value, error) {
	path := r.rule(place, id)
	key, err := registry.OpenKey(r.root, path, registry.QUERY_VALUE)
	if err != nil {
		return nil, &fs.PathError{Op: "open key", Path: path, Err: err}
	}
	defer key.Close()
	names, err := key.ReadValueNames(-1)
	if err != nil {
		return nil, &fs.PathError{Op: "list values of key", Path: path, Err: err}
	}
	var values []Value
	for _, name := range names {
		value, err := readValue(key, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("read value %s of key %s: %w", name, path, err)
		}
		values = append(values, value)
	}
	return values, nil
}

func readValue(key registry.Key, name string) (Value, error) {
	buffer := make([]byte, 1024)
	for {
		n, kind, err := key.GetValue(name, buffer)
		if errors.Is(err, registry.ErrShortBuffer) {
			buffer = make([]byte, max(n, 2*len(buffer)))
			continue
		}
		if err != nil {
			return Value{}, err
		}
		return Value{Name: name, Type: kind, Data: buffer[:n:n]}, nil
	}
}

// Write implements Store.
func (r *Registry) Write(place Place, id string, values []Value) error {
	path := r.rule(place, id)
	key, err := r.createRule(place, id)
	if err != nil {
		return err
	}
	defer key.Close()
	for _, v := range values {
		if now, err := readValue(key, v.Name); err == nil && now.Type == v.Type && string(now.Data) == string(v.Data) {
			continue
		}
		if err := setValue(key, v); err != nil {
			return fmt.Errorf("set value %s of key %s: %w", v.Name, path, err)
		}
	}
	names, err := key.ReadValueNames(-1)
	if err != nil {
		return &fs.PathError{Op: "list values of key", Path: path, Err: err}
	}
	for _, name := range names {
		if known(values, name) {
			continue
		}
		if err := key.DeleteValue(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("delete value %s of key %s: %w", name, path, err)
		}
	}
	return nil
}

// createRule opens the table before it makes a key in it: making the key of a
// rule by its whole path would make the table too, and a table of group policy
// hides all local rules.
func (r *Registry) createRule(place Place, id string) (registry.Key, error) {
	const access = registry.QUERY_VALUE | registry.SET_VALUE
	path := r.table(place)
	table, err := registry.OpenKey(r.root, path, registry.CREATE_SUB_KEY)
	switch {
	case errors.Is(err, fs.ErrNotExist) && place == Policy:
		return 0, ErrNoPolicy
	case errors.Is(err, fs.ErrNotExist):
		table, _, err = registry.CreateKey(r.root, path, registry.CREATE_SUB_KEY)
	}
	if err != nil {
		return 0, &fs.PathError{Op: "open key", Path: path, Err: err}
	}
	defer table.Close()
	key, _, err := registry.CreateKey(table, id, access)
	if err != nil {
		return 0, &fs.PathError{Op: "create key", Path: path + `\` + id, Err: err}
	}
	return key, nil
}

func known(values []Value, name string) bool {
	for _, v := range values {
		if strings.EqualFold(v.Name, name) {
			return true
		}
	}
	return false
}

// setValue writes bytes as they are; package registry would encode them itself.
func setValue(key registry.Key, v Value) error {
	name, err := windows.UTF16PtrFromString(v.Name)
	if err != nil {
		return err
	}
	status, _, _ := regSetValueExW.Call(uintptr(key), uintptr(unsafe.Pointer(name)), 0, uintptr(v.Type),
		uintptr(unsafe.Pointer(unsafe.SliceData(v.Data))), uintptr(len(v.Data)))
	return statusError(status)
}

// statusError makes an error of a LSTATUS.
func statusError(status uintptr) error {
	if status == 0 {
		return nil
	}
	return syscall.Errno(status)
}

// Delete implements Store.
func (r *Registry) Delete(place Place, id string) error { return r.delete(r.rule(place, id)) }

func (r *Registry) delete(path string) error {
	if err := registry.DeleteKey(r.root, path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return &fs.PathError{Op: "delete key", Path: path, Err: err}
	}
	return nil
}

// Retire implements Store, by giving the key another name: that is one step,
// where deleting rule by rule would leave moments in which group policy hides
// the local rules and has none itself.
func (r *Registry) Retire(ids []string) error {
	if err := r.Sweep(); err != nil {
		return err
	}
	if err := r.holdsOnly(r.table(Policy), ids); err != nil {
		return err
	}
	if err := r.rename(tableKey, retiredKey); err != nil {
		return err
	}
	if err := r.holdsOnly(r.parent(Policy)+`\`+retiredKey, ids); err != nil {
		return errors.Join(err, r.rename(retiredKey, tableKey))
	}
	return nil
}

func (r *Registry) holdsOnly(path string, ids []string) error {
	names, _, err := r.children(path)
	if err != nil {
		return err
	}
	for _, name := range names {
		found := false
		for _, id := range ids {
			found = found || strings.EqualFold(id, name)
		}
		if !found {
			return fmt.Errorf("key %s holds a rule of another program: %s", path, name)
		}
	}
	return nil
}

func (r *Registry) rename(from, to string) error {
	if err := regRenameKey.Find(); err != nil {
		return err
	}
	path := r.parent(Policy)
	parent, err := registry.OpenKey(r.root, path, registry.WRITE)
	if err != nil {
		return &fs.PathError{Op: "open key", Path: path, Err: err}
	}
	defer parent.Close()
	before, err := windows.UTF16PtrFromString(from)
	if err != nil {
		return err
	}
	after, err := windows.UTF16PtrFromString(to)
	if err != nil {
		return err
	}
	status, _, _ := regRenameKey.Call(uintptr(parent), uintptr(unsafe.Pointer(before)), uintptr(unsafe.Pointer(after)))
	if err := statusError(status); err != nil {
		return fmt.Errorf("rename key %s of %s to %s: %w", from, path, to, err)
	}
	return nil
}

// Retired implements Store.
func (r *Registry) Retired() (bool, error) {
	_, exists, err := r.children(r.parent(Policy) + `\` + retiredKey)
	return exists, err
}

// Sweep implements Store.
func (r *Registry) Sweep() error {
	path := r.parent(Policy) + `\` + retiredKey
	names, exists, err := r.children(path)
	if err != nil || !exists {
		return err
	}
	for _, name := range names {
		if err := r.delete(path + `\` + name); err != nil {
			return err
		}
	}
	return r.delete(path)
}
