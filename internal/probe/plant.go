package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// clockProxy is a reverse proxy whose clock is off: what it passes on has its
// own time in the Date header.
func clockProxy(ctx context.Context, addr, target, offset string) error {
	shift, err := time.ParseDuration(offset)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: target})
	proxy.ModifyResponse = func(response *http.Response) error {
		response.Header.Set("Date", time.Now().Add(shift).UTC().Format(http.TimeFormat))
		return nil
	}
	server := &http.Server{Handler: proxy, ReadHeaderTimeout: 5 * time.Second}
	defer context.AfterFunc(ctx, func() { server.Close() })()
	fmt.Println("ready")
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// holdTUN opens a TUN device, as another VPN would, and reads what comes.
func holdTUN(ctx context.Context, name string) error {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	request, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return err
	}
	device := os.NewFile(uintptr(fd), "/dev/net/tun")
	defer context.AfterFunc(ctx, func() { device.Close() })()
	fmt.Println("ready")
	buffer := make([]byte, 64<<10)
	for ctx.Err() == nil {
		if _, err := device.Read(buffer); errors.Is(err, os.ErrClosed) {
			return nil
		}
	}
	return nil
}
