package platform

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/causewayhq/causeway/netcfg"
	netwatch "github.com/causewayhq/causeway/netcfg/watch"
)

// watchGroups are the multicast groups of rtnetlink(7) that tell of links,
// addresses, routes and policy rules.
const watchGroups = unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR |
	unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE | unix.RTMGRP_IPV4_RULE |
	// There is no name of the old kind for this one.
	1<<(unix.RTNLGRP_IPV6_RULE-1)

// Watch reports changes of the network and wakes until the context ends, and
// repairs what others take away. It returns early only if it cannot listen to
// the kernel at all; its goroutines have ended when it returns. changed is
// called from one goroutine and must not block for long.
func (o *OS) Watch(ctx context.Context, changed func(netcfg.Event)) error {
	socket, err := openWatchSocket()
	if err != nil {
		return err
	}
	files, err := openFileWatch(map[string]netwatch.Notice{
		o.options.ResolvConf: netwatch.Unfinished, o.options.Nsswitch: netwatch.Unfinished, o.dropInPath(): netwatch.Unfinished,
		o.options.Hosts: netwatch.Own, o.options.LinkState: netwatch.Own,
	})
	if err != nil {
		_ = socket.Close()
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	notices := make(chan netwatch.Notice)
	var group sync.WaitGroup
	group.Go(func() { o.watchNetlink(ctx, socket, notices) })
	group.Go(func() { o.watchBus(ctx, notices) })
	group.Go(func() { o.watchFiles(ctx, files, notices) })
	group.Go(func() { o.watchIPv6(ctx, notices) })
	deeds := o.deeds.Load()
	loop := netwatch.Loop{
		Notices: notices, Clocks: readClocks, Fingerprint: o.fingerprint, Changed: changed, Failing: o.failed.Load,
		Repair: func(ctx context.Context, force bool) {
			deeds = o.deeds.Load()
			files.refresh() // a directory may have come
			before := fmt.Sprint(o.Trouble())
			if err := o.again(ctx, force); err != nil && ctx.Err() == nil {
				o.log.Warn("cannot put the host's configuration back", slog.String("error", err.Error()))
			}
			if ctx.Err() == nil && fmt.Sprint(o.Trouble()) != before {
				changed(netcfg.Troubled)
			}
		},
		InVain: func() bool { return o.deeds.Load() == deeds },
	}
	loop.Run(ctx)
	cancel()
	_ = socket.Close() // wakes its reader
	_ = files.file.Close()
	group.Wait()
	return context.Cause(ctx)
}

func openWatchSocket() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: watchGroups}); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("listen to link, address and route changes: %w", err)
	}
	return os.NewFile(uintptr(fd), "netlink"), nil
}

func (o *OS) watchNetlink(ctx context.Context, socket *os.File, notices chan<- netwatch.Notice) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := socket.Read(buffer)
		seen := []netwatch.Notice{netwatch.Foreign, netwatch.Own}
		switch {
		case errors.Is(err, unix.ENOBUFS):
			// Messages were lost, so anything may have happened.
		case err != nil:
			if ctx.Err() == nil {
				o.log.Error("lost the kernel's change messages", slog.String("error", err.Error()))
			}
			return
		default:
			seen = o.sort(affected(buffer[:n]))
		}
		for _, s := range seen {
			select {
			case notices <- s:
			case <-ctx.Done():
				return
			}
		}
	}
}

// ipv6Interval is how often it is looked whether IPv6 has been switched on again,
// while it is off: the kernel tells nobody (tried: an interface without addresses
// sends no message).
const ipv6Interval = 500 * time.Millisecond

// watchIPv6 looks only while IPv6 is off: a process that wakes for nothing costs
// a laptop its battery.
func (o *OS) watchIPv6(ctx context.Context, notices chan<- netwatch.Notice) {
	timer := time.NewTimer(ipv6Interval)
	defer timer.Stop()
	for {
		name, _ := o.sixless.Load().(string)
		if name == "" {
			timer.Stop()
		} else {
			timer.Reset(ipv6Interval)
		}
		select {
		case <-ctx.Done():
			return
		case <-o.lacksSix:
			continue
		case <-timer.C:
		}
		if ipv6Off(name) != "" {
			continue
		}
		select {
		case notices <- netwatch.Own:
		case <-ctx.Done():
			return
		}
	}
}

// sort tells whether links of ours, of others, or of both are concerned.
func (o *OS) sort(indexes []int) []netwatch.Notice {
	own := o.ownIndex.Load()
	var seen []netwatch.Notice
	for _, index := range indexes {
		n := netwatch.Foreign
		if int64(index) == own {
			n = netwatch.Own
		}
		if !slices.Contains(seen, n) {
			seen = append(seen, n)
		}
	}
	if !slices.Contains(seen, netwatch.Own) && len(seen) > 0 && o.hasRivals() {
		seen = append(seen, netwatch.Own) // it may be the rival that goes
	}
	return seen
}

// fingerprint describes the network without us: the links that are up, their
// addresses, routes and policy rules. An error makes it unlike any
// other, which is an event too many rather than one too few.
func (o *OS) fingerprint() string {
	own := int(o.ownIndex.Load())
	var lines []string
	links, err := retryDump(o.netlink.LinkList)
	up := map[int]bool{}
	for _, l := range links {
		a := l.Attrs()
		if a.Index == own || a.Flags&net.FlagLoopback != 0 || a.Flags&net.FlagUp == 0 || a.RawFlags&unix.IFF_LOWER_UP == 0 {
			continue
		}
		up[a.Index] = true
		lines = append(lines, fmt.Sprintf("link %d %s", a.Index, a.Name))
	}
	addresses, addressErr := retryDump(func() ([]netlink.Addr, error) { return o.netlink.AddrList(nil, netlink.FAMILY_ALL) })
	for _, a := range addresses {
		if up[a.LinkIndex] {
			lines = append(lines, fmt.Sprintf("address %d %s", a.LinkIndex, a.IPNet))
		}
	}
	routes, routeErr := o.allRoutes()
	for _, r := range routes {
		if r.LinkIndex != own {
			lines = append(lines, fmt.Sprintf("route %s type %d table %d via %s dev %d metric %d %v", r.Dst, r.Type, r.Table, r.Gw, r.LinkIndex, r.Priority, r.MultiPath))
		}
	}
	rules, ruleErr := retryDump(func() ([]netlink.Rule, error) { return o.netlink.RuleList(netlink.FAMILY_ALL) })
	for _, r := range rules {
		lines = append(lines, "rule "+r.String())
	}
	if err := errors.Join(err, addressErr, routeErr, ruleErr); err != nil {
		lines = append(lines, fmt.Sprintf("error %v at %d", err, time.Now().UnixNano()))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func readClocks() netwatch.Reading {
	return netwatch.Reading{Mono: readClock(unix.CLOCK_MONOTONIC), Boot: readClock(unix.CLOCK_BOOTTIME), Wall: time.Now()}
}

func readClock(id int32) time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(id, &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}
