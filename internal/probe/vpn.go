package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"

	"github.com/causewayhq/causeway/tun"
)

// The inside of the VPN: small enough for an outer packet of 1500 bytes, large
// enough for one of WireGuard's with 1280 bytes in it. headroom is what a write
// to a TUN device may need before the packet.
const (
	vpnMTU   = 1420
	headroom = 16
)

// vpn carries packets between a TUN device and UDP datagrams, unencrypted: what
// matters of another VPN here are its routes and its name servers. Without a
// peer it answers whoever wrote last.
func vpn(ctx context.Context, name, listen, peer string) error {
	var far atomic.Pointer[netip.AddrPort]
	if peer != "" {
		addr, err := netip.ParseAddrPort(peer)
		if err != nil {
			return fmt.Errorf("read peer: %w", err)
		}
		far.Store(&addr)
	}
	address, err := net.ResolveUDPAddr("udp4", listen)
	if err != nil {
		return err
	}
	socket, err := net.ListenUDP("udp4", address)
	if err != nil {
		return err
	}
	defer socket.Close()
	device, err := tun.Open(name, vpnMTU)
	if err != nil {
		return err
	}
	defer device.Close()
	failed := make(chan error, 2)
	go func() { failed <- outward(device, socket, &far) }()
	go func() { failed <- inward(device, socket, &far) }()
	fmt.Println("ready")
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return nil
	}
}

func outward(device tun.Device, socket *net.UDPConn, far *atomic.Pointer[netip.AddrPort]) error {
	packets, sizes := make([][]byte, device.BatchSize()), make([]int, device.BatchSize())
	for i := range packets {
		packets[i] = make([]byte, headroom+tun.MaxMTU)
	}
	for {
		count, err := device.Read(packets, sizes, headroom)
		if err != nil {
			return fmt.Errorf("read TUN device: %w", err)
		}
		to := far.Load()
		for i := range count {
			if to != nil {
				// What does not fit or finds nobody is lost, as in any network.
				_, _ = socket.WriteToUDPAddrPort(packets[i][headroom:headroom+sizes[i]], *to)
			}
		}
	}
}

func inward(device tun.Device, socket *net.UDPConn, far *atomic.Pointer[netip.AddrPort]) error {
	packet := make([]byte, headroom+tun.MaxMTU)
	for {
		count, from, err := socket.ReadFromUDPAddrPort(packet[headroom:])
		if err != nil {
			return fmt.Errorf("read socket: %w", err)
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		far.Store(&from)
		// A device that is still down refuses.
		_, _ = device.Write([][]byte{packet[:headroom+count]}, headroom)
	}
}
