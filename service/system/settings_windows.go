package system

import (
	"errors"
	"fmt"
	"slices"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/svc/mgr"
)

// usable says that a service exists and is not disabled.
func usable(connection *mgr.Mgr, name string) bool {
	text, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return false
	}
	opened, err := windows.OpenService(connection.Handle, text, windows.SERVICE_QUERY_CONFIG)
	if err != nil {
		return false
	}
	defer func() { _ = windows.CloseServiceHandle(opened) }()
	found, err := query(opened)
	return err == nil && found.start != windows.SERVICE_DISABLED
}

// basics are what QueryServiceConfig tells, as far as they matter here. The
// library's own reading fails as a whole where one of the later levels is
// missing, as under Wine.
type basics struct {
	start        uint32
	command      string
	displayName  string
	dependencies []string
}

// maxConfig bounds the answer: 8 KiB (winsvc.h).
const maxConfig = 8 << 10

func query(opened windows.Handle) (basics, error) {
	buffer := make([]byte, maxConfig)
	raw := (*windows.QUERY_SERVICE_CONFIG)(unsafe.Pointer(&buffer[0]))
	var needed uint32
	if err := windows.QueryServiceConfig(opened, raw, maxConfig, &needed); err != nil {
		return basics{}, fmt.Errorf("read service: %w", err)
	}
	found := basics{
		start: raw.StartType, command: windows.UTF16PtrToString(raw.BinaryPathName), displayName: windows.UTF16PtrToString(raw.DisplayName),
	}
	for at := raw.Dependencies; at != nil && *at != 0; {
		name := windows.UTF16PtrToString(at)
		found.dependencies = append(found.dependencies, name)
		at = (*uint16)(unsafe.Add(unsafe.Pointer(at), 2*(len(windows.StringToUTF16(name)))))
	}
	return found, nil
}

// queryNumber reads an information level that is one number.
func queryNumber(opened windows.Handle, level uint32) (uint32, error) {
	var value, needed uint32
	err := windows.QueryServiceConfig2(opened, level, (*byte)(unsafe.Pointer(&value)), uint32(unsafe.Sizeof(value)), &needed)
	return value, err
}

func setNumber(opened windows.Handle, level, value uint32) error {
	return windows.ChangeServiceConfig2(opened, level, (*byte)(unsafe.Pointer(&value)))
}

// queryDescription reads the text that people see; "" where it cannot be read.
func queryDescription(opened windows.Handle) string {
	buffer := make([]byte, maxConfig)
	var needed uint32
	if err := windows.QueryServiceConfig2(opened, windows.SERVICE_CONFIG_DESCRIPTION, &buffer[0], maxConfig, &needed); err != nil {
		return ""
	}
	return windows.UTF16PtrToString((*windows.SERVICE_DESCRIPTION)(unsafe.Pointer(&buffer[0])).Description)
}

// read reads back what Windows keeps. What cannot be read counts as not set.
func read(opened *mgr.Service) (settings, error) {
	base, err := query(opened.Handle)
	if err != nil {
		return settings{}, err
	}
	found := settings{
		Command: base.command, DisplayName: base.displayName, Description: queryDescription(opened.Handle),
		Automatic: base.start == windows.SERVICE_AUTO_START, Dependencies: base.dependencies,
	}
	if value, err := queryNumber(opened.Handle, windows.SERVICE_CONFIG_DELAYED_AUTO_START_INFO); err == nil {
		found.Delayed = value != 0
	}
	if value, err := queryNumber(opened.Handle, windows.SERVICE_CONFIG_SERVICE_SID_INFO); err == nil {
		found.Unrestricted = value == windows.SERVICE_SID_TYPE_UNRESTRICTED
	}
	if actions, err := opened.RecoveryActions(); err == nil {
		for _, action := range actions {
			if action.Type == mgr.ServiceRestart {
				found.Recovery = append(found.Recovery, action.Delay)
			}
		}
	}
	if seconds, err := opened.ResetPeriod(); err == nil {
		found.Reset = time.Duration(seconds) * time.Second
	}
	if flag, err := opened.RecoveryActionsOnNonCrashFailures(); err == nil {
		found.NonCrash = flag
	}
	if millis, err := queryNumber(opened.Handle, windows.SERVICE_CONFIG_PRESHUTDOWN_INFO); err == nil {
		found.Preshutdown = time.Duration(millis) * time.Millisecond
	}
	return found, nil
}

// lacks says that this Windows does not have the setting, which then is no
// reason to have no service. All that are supported have all of them; Wine has
// not.
func lacks(err error) bool {
	return errors.Is(err, windows.ERROR_INVALID_LEVEL) || errors.Is(err, windows.ERROR_CALL_NOT_IMPLEMENTED)
}

// apply makes one change.
func apply(opened *mgr.Service, want settings, c change) error {
	switch c {
	case changeConfig:
		return applyConfig(opened.Handle, want)
	case changeDescription:
		text, err := windows.UTF16PtrFromString(want.Description)
		if err != nil {
			return err
		}
		info := windows.SERVICE_DESCRIPTION{Description: text}
		return windows.ChangeServiceConfig2(opened.Handle, windows.SERVICE_CONFIG_DESCRIPTION, (*byte)(unsafe.Pointer(&info)))
	case changeDelayed:
		return setNumber(opened.Handle, windows.SERVICE_CONFIG_DELAYED_AUTO_START_INFO, 0)
	case changeSID:
		return setNumber(opened.Handle, windows.SERVICE_CONFIG_SERVICE_SID_INFO, windows.SERVICE_SID_TYPE_UNRESTRICTED)
	case changeRecovery:
		var actions []mgr.RecoveryAction
		for _, delay := range want.Recovery {
			actions = append(actions, mgr.RecoveryAction{Type: mgr.ServiceRestart, Delay: delay})
		}
		return opened.SetRecoveryActions(actions, uint32(want.Reset/time.Second))
	case changeNonCrash:
		return opened.SetRecoveryActionsOnNonCrashFailures(want.NonCrash)
	default:
		return setNumber(opened.Handle, windows.SERVICE_CONFIG_PRESHUTDOWN_INFO, uint32(want.Preshutdown/time.Millisecond))
	}
}

// applyConfig leaves the account as it is: with its name Windows would want a
// password.
func applyConfig(opened windows.Handle, want settings) error {
	command, err := windows.UTF16PtrFromString(want.Command)
	if err != nil {
		return err
	}
	name, err := windows.UTF16PtrFromString(want.DisplayName)
	if err != nil {
		return err
	}
	// A list ends with an empty string; an empty list takes the old one away.
	var list []uint16
	for _, dependency := range want.Dependencies {
		list = slices.Concat(list, windows.StringToUTF16(dependency))
	}
	list = append(list, 0, 0)
	return windows.ChangeServiceConfig(opened, windows.SERVICE_NO_CHANGE, windows.SERVICE_AUTO_START, windows.SERVICE_NO_CHANGE,
		command, nil, nil, &list[0], nil, nil, name)
}
