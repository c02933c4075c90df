package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"

	"github.com/causewayhq/causeway/tun"
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
	device, err := tun.Open(name, vpnMTU)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { device.Close() })()
	fmt.Println("ready")
	packets, sizes := make([][]byte, device.BatchSize()), make([]int, device.BatchSize())
	for i := range packets {
		packets[i] = make([]byte, headroom+tun.MaxMTU)
	}
	for ctx.Err() == nil {
		if _, err := device.Read(packets, sizes, headroom); err != nil && ctx.Err() == nil {
			return fmt.Errorf("read TUN device: %w", err)
		}
	}
	return nil
}
