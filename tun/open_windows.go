package tun

import (
	"errors"

	wgtun "github.com/tailscale/wireguard-go/tun"
	"golang.org/x/sys/windows"
)

// adapterGUID is Causeway's own and fixed, so that Windows recognises the
// adapter after a restart and keeps its network profile instead of inventing
// "Network 2", "Network 3" and so on.
var adapterGUID = windows.GUID{
	Data1: 0x5d1f6c1e, Data2: 0x83a7, Data3: 0x4b0e,
	Data4: [8]byte{0x9c, 0x44, 0x2e, 0xd7, 0x60, 0xb1, 0x15, 0xfa},
}

// Open creates the Wintun adapter name with the given MTU, in bytes.
func Open(name string, mtu int) (Device, error) {
	if name == "" || len(name) > 127 {
		return nil, &Error{
			Kind: ErrBadName, Name: name, Cause: "the adapter name must have 1 to 127 characters",
			Remedy: "choose a short name, for example Causeway",
		}
	}
	if err := checkMTU(name, mtu); err != nil {
		return nil, err
	}
	device, err := wgtun.CreateTUNWithRequestedGUID(name, &adapterGUID, mtu)
	switch {
	case err == nil:
		return device, nil
	case errors.Is(err, windows.ERROR_ACCESS_DENIED):
		return nil, &Error{Kind: ErrNoPermission, Name: name, Err: err, Cause: "only administrators may create an adapter", Remedy: "run as the system service"}
	case errors.Is(err, windows.ERROR_ALREADY_EXISTS) || errors.Is(err, windows.ERROR_OBJECT_ALREADY_EXISTS):
		return nil, &Error{Kind: ErrNameTaken, Name: name, Err: err, Cause: "an adapter of this name exists", Remedy: "stop the program that owns it or choose another name"}
	case errors.Is(err, windows.ERROR_MOD_NOT_FOUND) || errors.Is(err, windows.ERROR_FILE_NOT_FOUND):
		return nil, &Error{Kind: ErrNoDevice, Name: name, Err: err, Cause: "wintun.dll is missing beside the program", Remedy: "install Causeway again"}
	}
	return nil, &Error{Kind: ErrFailed, Name: name, Err: err, Cause: "Windows refused to create the adapter", Remedy: "see the system's error"}
}
