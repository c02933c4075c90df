package platform

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/net/route"
	"golang.org/x/sys/unix"

	"github.com/causewayhq/causeway/netcfg/watch"
)

// New opens the journal; it changes nothing on the host. The caller closes what
// it returns.
func New(options Options) (*OS, error) {
	// kern.bootsessionuuid is another after each boot.
	boot, err := unix.Sysctl("kern.bootsessionuuid")
	if err != nil {
		return nil, fmt.Errorf("read boot session: %w", err)
	}
	return newOS(options, mac{}, boot)
}

// mac is the real system.
type mac struct{}

func (mac) Links() ([]link, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	links := make([]link, 0, len(interfaces))
	for _, i := range interfaces {
		l := link{
			index: i.Index, name: i.Name, mtu: i.MTU,
			up: i.Flags&net.FlagUp != 0, loopback: i.Flags&net.FlagLoopback != 0,
		}
		addresses, err := i.Addrs()
		if err != nil {
			continue // it has gone meanwhile
		}
		for _, a := range addresses {
			if n, ok := a.(*net.IPNet); ok {
				ip, _ := netip.AddrFromSlice(n.IP)
				bits, _ := n.Mask.Size()
				l.addresses = append(l.addresses, netip.PrefixFrom(ip.Unmap(), bits))
			}
		}
		links = append(links, l)
	}
	return links, nil
}

func (mac) Routes() ([]byte, error) {
	return route.FetchRIB(unix.AF_UNSPEC, route.RIBTypeRoute, 0)
}

// openRouteSocket lets no program that is started meanwhile inherit it.
func openRouteSocket() (int, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	fd, err := unix.Socket(unix.AF_ROUTE, unix.SOCK_RAW, unix.AF_UNSPEC)
	if err != nil {
		return -1, err
	}
	unix.CloseOnExec(fd)
	return fd, nil
}

// Request uses a socket of its own that hears nothing, so that no message of
// others can fill its buffer.
func (mac) Request(message []byte) error {
	fd, err := openRouteSocket()
	if err != nil {
		return fmt.Errorf("open route socket: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.Shutdown(fd, unix.SHUT_RD); err != nil {
		return fmt.Errorf("close reading side of route socket: %w", err)
	}
	_, err = unix.Write(fd, message)
	return err
}

func (mac) Listen() (io.ReadCloser, error) {
	fd, err := openRouteSocket()
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return &routeStream{file: os.NewFile(uintptr(fd), "route")}, nil
}

// routeStream reads route messages.
type routeStream struct{ file *os.File }

// pollPause is how long a Read sleeps that the kernel woke for nothing, as it
// may after a wake: without it the reader would spin.
const pollPause = 100 * time.Millisecond

func (s *routeStream) Read(buffer []byte) (int, error) {
	for {
		n, err := s.file.Read(buffer)
		switch {
		case errors.Is(err, unix.EAGAIN):
			time.Sleep(pollPause)
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.ENOBUFS):
			return 0, errLost
		default:
			return n, err
		}
	}
}

func (s *routeStream) Close() error { return s.file.Close() }

func (mac) Run(ctx context.Context, path string, args ...string) (string, error) {
	command := exec.CommandContext(ctx, path, args...)
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	command.Env = append(os.Environ(), "LC_ALL=C")
	command.WaitDelay = time.Second // for a pipe that a child of its might hold
	if err := command.Run(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return "", fmt.Errorf("run %s: %w: %s", strings.Join(command.Args, " "), err, strings.TrimSpace(output.String()))
	}
	return output.String(), nil
}

// Resolve asks libSystem, which Go reaches on macOS without cgo too.
func (mac) Resolve(ctx context.Context, name string) ([]netip.Addr, error) {
	resolver := net.Resolver{}
	return resolver.LookupNetIP(ctx, "ip6", name)
}

func (mac) Clocks() watch.Reading {
	// clock_gettime(3): CLOCK_UPTIME_RAW stands still while the system is
	// asleep, CLOCK_MONOTONIC_RAW goes on.
	return watch.Reading{Mono: readClock(unix.CLOCK_UPTIME_RAW), Boot: readClock(unix.CLOCK_MONOTONIC_RAW), Wall: time.Now()}
}

func readClock(id int32) time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(id, &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}
