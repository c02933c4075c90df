// Package tun opens the TUN device of each operating system, with offloads, and
// says in words why it could not.
//
// The device itself is that of github.com/tailscale/wireguard-go/tun, which the
// tunnel core demands. What this package adds is the order of the steps (no
// link-local address, a longer queue, nothing leaked after a failure) and the
// diagnosis: every way to fail is an *Error with a kind, a cause and a remedy.
//
// Offloads, as the library sets them on each device that is opened or adopted:
// on Linux IFF_VNET_HDR with checksums and TCP segmentation of both families
// (TUN_F_CSUM, TSO4, TSO6), without which opening fails; UDP segmentation (USO4,
// USO6) is tried, and where the kernel refuses it (before 6.2) datagrams are
// not merged. A read may then give a batch made of one packet of 64 KiB. On
// macOS and Windows there are none: packets go one by one on macOS, each behind
// four bytes that name its family, and through a ring on Windows.
package tun

import (
	"errors"
	"fmt"

	wgtun "github.com/tailscale/wireguard-go/tun"
)

// Device is an open TUN device. Closing it removes the interface, unless
// another descriptor of it stays open somewhere.
type Device = wgtun.Device

// The limits of an MTU, in bytes. IPv6 demands 1280, and Linux takes IPv6 off
// an interface that has less, without a word; 65535 is the longest IP packet
// that any of our systems carries through a TUN device.
const (
	MinMTU = 1280
	MaxMTU = 65535
)

// The kinds of failure, for errors.Is.
var (
	// ErrNoPermission: the process may not open or configure TUN devices.
	ErrNoPermission = errors.New("no permission")
	// ErrNoDevice: the system has no TUN driver, or no node to reach it by.
	ErrNoDevice = errors.New("no TUN driver")
	// ErrNameTaken: an interface of that name exists already.
	ErrNameTaken = errors.New("interface name taken")
	// ErrBadName: the system cannot have an interface of that name.
	ErrBadName = errors.New("bad interface name")
	// ErrBadMTU: the MTU is outside MinMTU and MaxMTU.
	ErrBadMTU = errors.New("bad MTU")
	// ErrFailed: anything that has no diagnosis of its own.
	ErrFailed = errors.New("TUN device failed")
)

// Error is a diagnosed failure to open a device.
type Error struct {
	// Kind is one of the sentinels of this package.
	Kind error
	// Name of the interface that was asked for.
	Name string
	// Cause is one clause on what is wrong, without a full stop.
	Cause string
	// Remedy is one clause on what to do about it, without a full stop.
	Remedy string
	// Err is the system's own error; nil if the request was refused unasked.
	Err error
}

// Error reads "open TUN device NAME: cause (system error); remedy".
func (e *Error) Error() string {
	text := fmt.Sprintf("open TUN device %q: %s", e.Name, e.Cause)
	if e.Err != nil {
		text += fmt.Sprintf(" (%v)", e.Err)
	}
	if e.Remedy != "" {
		text += "; " + e.Remedy
	}
	return text
}

// Unwrap gives the kind and the system's error to errors.Is and errors.As.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Err}
}

func checkMTU(name string, mtu int) error {
	if mtu >= MinMTU && mtu <= MaxMTU {
		return nil
	}
	return &Error{
		Kind: ErrBadMTU, Name: name,
		Cause:  fmt.Sprintf("MTU %d is out of range", mtu),
		Remedy: fmt.Sprintf("choose %d to %d; %d suits every network", MinMTU, MaxMTU, MinMTU),
	}
}
