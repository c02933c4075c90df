package tun

import (
	"errors"
	"strconv"
	"strings"
	"syscall"

	wgtun "github.com/tailscale/wireguard-go/tun"
)

// Open creates a utun interface with the given MTU, in bytes. The name is
// "utun" for the next free number, or "utun" with a number; Device.Name tells
// which it became.
func Open(name string, mtu int) (Device, error) {
	if number, ok := strings.CutPrefix(name, "utun"); !ok || number != "" && !isNumber(number) {
		return nil, &Error{
			Kind: ErrBadName, Name: name, Cause: "macOS names its TUN devices utun0, utun1 and so on",
			Remedy: "choose utun, which takes the next free one",
		}
	}
	if err := checkMTU(name, mtu); err != nil {
		return nil, err
	}
	device, err := wgtun.CreateTUN(name, mtu)
	switch {
	case err == nil:
		return device, nil
	case errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES):
		return nil, &Error{Kind: ErrNoPermission, Name: name, Err: err, Cause: "only root may create a utun device", Remedy: "run as the system service"}
	case errors.Is(err, syscall.EBUSY):
		return nil, &Error{Kind: ErrNameTaken, Name: name, Err: err, Cause: "another program has this utun device", Remedy: "choose utun, which takes the next free one"}
	}
	return nil, &Error{Kind: ErrFailed, Name: name, Err: err, Cause: "the system refused to create the device", Remedy: "see the system's error"}
}

func isNumber(text string) bool {
	_, err := strconv.ParseUint(text, 10, 16)
	return err == nil
}
