//go:build linux || darwin

package main

import (
	"fmt"
	"os"

	wgtun "github.com/tailscale/wireguard-go/tun"
	"golang.org/x/sys/unix"

	"github.com/causewayhq/causeway/tun"
)

// openGiven makes a device of the manager's descriptor, which stays the manager's.
// Its form is the manager's choice, so it is not taken over like a device of ours.
func openGiven(number, mtu int) (tun.Device, error) {
	ours, err := unix.FcntlInt(uintptr(number), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open the manager's interface (descriptor %d): %w", number, err)
	}
	if err := unix.SetNonblock(ours, true); err != nil {
		_ = unix.Close(ours)
		return nil, fmt.Errorf("open the manager's interface (descriptor %d): %w", number, err)
	}
	device, err := wgtun.CreateTUNFromFile(os.NewFile(uintptr(ours), "manager's interface"), mtu)
	if err != nil {
		return nil, fmt.Errorf("open the manager's interface (descriptor %d): %w", number, err)
	}
	return device, nil
}
