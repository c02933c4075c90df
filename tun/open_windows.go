package tun

import (
	"runtime"
	"sync"
	"time"

	wgtun "github.com/tailscale/wireguard-go/tun"
	"golang.org/x/sys/windows"
	"golang.zx2c4.com/wintun"
)

// AdapterGUID is Causeway's own and fixed, so that Windows recognises the
// adapter after a restart and keeps its network profile instead of inventing
// "Network 2", "Network 3" and so on. It is also the mark by which an adapter, and
// what the registry has on it, is known to be ours.
var AdapterGUID = windows.GUID{
	Data1: 0x5d1f6c1e, Data2: 0x83a7, Data3: 0x4b0e,
	Data4: [8]byte{0x9c, 0x44, 0x2e, 0xd7, 0x60, 0xb1, 0x15, 0xfa},
}

// tunnelType is the kind of adapter as Windows shows it: "Causeway Tunnel".
const tunnelType = "Causeway"

// opening serialises Open: the library and the kind of adapter are globals.
var opening sync.Mutex

// Open creates the Wintun adapter name with the given MTU, in bytes. While
// Windows starts it tries again for up to five minutes, see atBoot; a daemon that
// is told to stop meanwhile ends by its own shutdown guard.
func Open(name string, mtu int) (Device, error) {
	if err := checkWintunName(name); err != nil {
		return nil, err
	}
	if err := checkMTU(name, mtu); err != nil {
		return nil, err
	}
	opening.Lock()
	defer opening.Unlock()
	uptime, start := windows.DurationSinceBoot(), time.Now()
	for attempt := 1; ; attempt++ {
		device, err := open(name, mtu)
		if err == nil {
			return device, nil
		}
		wait, again := atBoot.wait(attempt, uptime, time.Since(start), err)
		if !again {
			return nil, err
		}
		time.Sleep(wait)
	}
}

// open makes one attempt, and a second one if an adapter of ours was in the way.
func open(name string, mtu int) (Device, *Error) {
	path, err := libraryPath()
	if err == nil {
		err = loadLibrary(path, wintunSums[runtime.GOARCH])
	}
	if err != nil {
		return nil, diagnoseLibrary(name, path, err)
	}
	wgtun.WintunTunnelType = tunnelType
	device, err := wgtun.CreateTUNWithRequestedGUID(name, &AdapterGUID, mtu)
	if err == nil {
		return device, nil
	}
	diagnosed := diagnoseAdapter(name, err)
	if !mayPass(diagnosed) {
		return nil, diagnosed
	}
	// The first attempt after a process that was killed fails now and then, with
	// one error or another.
	sweep(name)
	if device, err = wgtun.CreateTUNWithRequestedGUID(name, &AdapterGUID, mtu); err != nil {
		return nil, diagnoseAdapter(name, err)
	}
	return device, nil
}

// sweep opens and closes the adapter of this name: opening removes what the
// processes that made adapters left when they were killed, and closing a handle
// that did not make the adapter leaves it be (wintun.h).
func sweep(name string) {
	if adapter, err := wintun.OpenAdapter(name); err == nil {
		_ = adapter.Close()
	}
}
