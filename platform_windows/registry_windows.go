package platform

import (
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
)

// Value reads a number or a text. A value of another kind is one that differs
// from all that is wanted.
func (winSystem) Value(key, name string) (value, error) {
	k, err := registry.OpenKey(registry.LOCAL_MACHINE, key, registry.QUERY_VALUE)
	if err != nil {
		return value{}, known(err)
	}
	defer k.Close()
	number, kind, err := k.GetIntegerValue(name)
	switch {
	case err == nil:
		return value{Key: key, Name: name, Data: strconv.FormatUint(number, 10)}, nil
	case !errors.Is(err, registry.ErrUnexpectedType):
		return value{}, known(err)
	case kind != registry.SZ && kind != registry.EXPAND_SZ:
		return value{Key: key, Name: name, Text: true, Data: fmt.Sprintf("value of type %d", kind)}, nil
	}
	text, _, err := k.GetStringValue(name)
	if err != nil {
		return value{}, known(err)
	}
	return value{Key: key, Name: name, Text: true, Data: text}, nil
}

// SetValue makes no key: those of an interface are made by Windows, with rights
// and values that we know nothing of.
func (winSystem) SetValue(v value) error {
	k, err := registry.OpenKey(registry.LOCAL_MACHINE, v.Key, registry.SET_VALUE)
	if err != nil {
		return known(err)
	}
	defer k.Close()
	if v.Text {
		return k.SetStringValue(v.Name, v.Data)
	}
	number, err := strconv.ParseUint(v.Data, 10, 32)
	if err != nil {
		return err
	}
	return k.SetDWordValue(v.Name, uint32(number))
}

func (winSystem) DeleteValue(key, name string) error {
	k, err := registry.OpenKey(registry.LOCAL_MACHINE, key, registry.SET_VALUE)
	if errors.Is(err, windows.ERROR_FILE_NOT_FOUND) {
		return nil
	}
	if err != nil {
		return err
	}
	defer k.Close()
	if err := k.DeleteValue(name); err != nil && !errors.Is(err, windows.ERROR_FILE_NOT_FOUND) {
		return err
	}
	return nil
}

// dnsClient is the service's name ("DNS Client").
const dnsClient = "Dnscache"

// Client asks the service manager. The rights are the least that it takes, so
// that a daemon under test needs no privilege.
func (winSystem) Client() (client, error) {
	manager, err := windows.OpenSCManager(nil, nil, windows.SC_MANAGER_CONNECT)
	if err != nil {
		return clientRunning, fmt.Errorf("open service manager: %w", err)
	}
	defer func() { _ = windows.CloseServiceHandle(manager) }()
	name, err := windows.UTF16PtrFromString(dnsClient)
	if err != nil {
		return clientRunning, err
	}
	service, err := windows.OpenService(manager, name, windows.SERVICE_QUERY_STATUS)
	if err != nil {
		return clientRunning, fmt.Errorf("open service %s: %w", dnsClient, err)
	}
	defer func() { _ = windows.CloseServiceHandle(service) }()
	var status windows.SERVICE_STATUS
	if err := windows.QueryServiceStatus(service, &status); err != nil {
		return clientRunning, fmt.Errorf("query service %s: %w", dnsClient, err)
	}
	if status.CurrentState != windows.SERVICE_STOPPED {
		return clientRunning, nil
	}
	start, err := winSystem{}.Value(`SYSTEM\CurrentControlSet\Services\`+dnsClient, "Start")
	if err == nil && start.Data == strconv.Itoa(windows.SERVICE_DISABLED) {
		return clientDisabled, nil
	}
	return clientStopped, nil
}
