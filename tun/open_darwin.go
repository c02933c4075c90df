package tun

import wgtun "github.com/tailscale/wireguard-go/tun"

// Open creates a utun interface with the given MTU, in bytes. The name is
// "utun" for the next free number, or "utun" with a number; Device.Name tells
// which it became. The interface is down and goes with its descriptor: nothing
// can keep it while the daemon is away.
func Open(name string, mtu int) (Device, error) {
	if err := checkUtunName(name); err != nil {
		return nil, err
	}
	if err := checkMTU(name, mtu); err != nil {
		return nil, err
	}
	device, err := wgtun.CreateTUN(name, mtu)
	if err != nil {
		return nil, diagnoseUtun(name, err)
	}
	return device, nil
}
