//go:build !linux

package main

import (
	"fmt"
	"log/slog"

	"github.com/causewayhq/causeway/tun"
)

// fleeting are devices that go with the process: here is no store for them.
type fleeting struct{}

func newDevices(*slog.Logger) devices { return fleeting{} }

func (fleeting) Open(name string, mtu int) (tun.Device, error) { return tun.Open(name, mtu) }

// Check makes the device and takes it away again: nothing short of that tells
// whether the system will give one.
func (fleeting) Check(name string, mtu int) error {
	device, err := tun.Open(name, mtu)
	if err != nil {
		return err
	}
	if err := device.Close(); err != nil {
		return fmt.Errorf("close TUN device %q: %w", name, err)
	}
	return nil
}

func (fleeting) Release() {}
