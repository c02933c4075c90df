package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"
)

// mtu of the tunnel, the same as ours.
const mtu = 1280

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: wireguard DEVICE PREFIX   (configuration of the UAPI on stdin)")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "wireguard:", err)
		os.Exit(1)
	}
}

func run(name, prefix string) error {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM, os.Interrupt)
	tunnel, err := tun.CreateTUN(name, mtu)
	if err != nil {
		return fmt.Errorf("create %s: %w", name, err)
	}
	dev := device.NewDevice(tunnel, conn.NewDefaultBind(), device.NewLogger(device.LogLevelError, name+": "))
	defer dev.Close()
	config, err := io.ReadAll(os.Stdin)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	if err := dev.IpcSet(string(config)); err != nil {
		return fmt.Errorf("configure: %w", err)
	}
	if err := dev.Up(); err != nil {
		return fmt.Errorf("bring up: %w", err)
	}
	if err := addAddress(name, prefix); err != nil {
		return err
	}
	// As our own programs do, so that their sizes can be compared.
	debug.FreeOSMemory()
	fmt.Fprintf(os.Stderr, "goroutines %d\nready\n", runtime.NumGoroutine())
	select {
	case <-ended:
	case <-dev.Wait():
	}
	return nil
}

func addAddress(name, prefix string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find %s: %w", name, err)
	}
	ip, network, err := net.ParseCIDR(prefix)
	if err != nil {
		return err
	}
	network.IP = ip
	if err := netlink.AddrAdd(link, &netlink.Addr{IPNet: network, Flags: 0x02}); err != nil { // IFA_F_NODAD
		return fmt.Errorf("add address to %s: %w", name, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("bring %s up: %w", name, err)
	}
	return nil
}
