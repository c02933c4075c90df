package tun

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	wgtun "github.com/tailscale/wireguard-go/tun"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	clonePath = "/dev/net/tun"

	// queueLength is the interface's transmit queue, in packets. The kernel
	// gives a TUN device 500, which at 1 Gbit/s of full packets is 5 ms: less
	// than one scheduling delay of the reader. The queue also holds what
	// applications send while the daemon restarts.
	queueLength = 5000

	// addrGenNone is IN6_ADDR_GEN_MODE_NONE: no fe80:: address appears.
	addrGenNone = 1

	modprobePath    = "/sbin/modprobe"
	modprobeTimeout = 5 * time.Second
)

// Open creates the TUN device name with the given MTU, in bytes. The interface
// is down and has no address; the platform package brings it up. It must not
// exist already: whatever holds the name is not ours to take over.
//
// Open does not go through the library's own constructor, which leaks its
// descriptor when the name is taken, starts goroutines before it sets the MTU
// and leaves no moment to switch the link-local address off.
func Open(name string, mtu int) (Device, error) {
	if err := checkLinuxName(name); err != nil {
		return nil, err
	}
	if err := checkMTU(name, mtu); err != nil {
		return nil, err
	}
	fd, err := openNode()
	if err != nil {
		return nil, diagnoseNode(name, err, inspect(""))
	}
	if err := attach(fd, name); err != nil {
		_ = unix.Close(fd)
		return nil, diagnoseCreate(name, err, inspect(name))
	}
	return adopt(fd, name, mtu)
}

// Adopt makes a device of the descriptor of a TUN device that is open already,
// for example one that the service manager kept while the daemon was away. It
// owns the descriptor from then on, and closes it if it fails. Addresses,
// routes and the up flag stay as they are.
func Adopt(fd, mtu int) (Device, error) {
	request, err := unix.NewIfreq("")
	if err == nil {
		err = unix.IoctlIfreq(fd, unix.TUNGETIFF, request)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, &Error{
			Kind: ErrFailed, Name: fmt.Sprintf("descriptor %d", fd), Err: err,
			Cause: "the descriptor is not that of a TUN device", Remedy: "open a new one",
		}
	}
	name := request.Name()
	const needed = unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR
	if request.Uint16()&needed != needed {
		_ = unix.Close(fd)
		return nil, &Error{
			Kind: ErrFailed, Name: name,
			Cause: "the kept device has other flags than ours", Remedy: "open a new one",
		}
	}
	if err := checkMTU(name, mtu); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return adopt(fd, name, mtu)
}

// adopt takes over fd, which is attached to the interface name.
func adopt(fd int, name string, mtu int) (Device, error) {
	fail := func(what string, err error) (Device, error) {
		return nil, &Error{Kind: ErrFailed, Name: name, Cause: "cannot " + what, Remedy: "see the system's error", Err: err}
	}
	if what, err := settle(name, mtu); err != nil {
		_ = unix.Close(fd)
		return fail(what, err)
	}
	// The library's other constructor watches the interface by asking the kernel
	// once a second, for ever, and by a thread that waits for its messages: a
	// third of what an idle daemon wakes up for. All that comes of it is a new
	// padding when somebody else changes the MTU; who takes the interface away
	// ends the reads, and the platform's watch sees the rest.
	// What fails here leaves the descriptor to a file that the collector closes.
	device, _, err := wgtun.CreateUnmonitoredTUNFromFD(fd)
	if err != nil {
		return fail("set up the device's offloads", err)
	}
	return device, nil
}

// settle sets what must be right before the interface comes up. All of it goes
// with the interface, so nothing has to be undone.
func settle(name string, mtu int) (what string, err error) {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return "find the new interface", err
	}
	// The kernel refuses with EOPNOTSUPP or EAFNOSUPPORT where IPv6 is off:
	// then no link-local address can appear either. The platform names that.
	if err := netlink.LinkSetIP6AddrGenMode(link, addrGenNone); err != nil &&
		!errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EAFNOSUPPORT) {
		return "switch the link-local address off", err
	}
	if err := netlink.LinkSetTxQLen(link, queueLength); err != nil {
		return "lengthen the queue", err
	}
	if link.Attrs().MTU != mtu {
		if err := netlink.LinkSetMTU(link, mtu); err != nil {
			return fmt.Sprintf("set the MTU %d", mtu), err
		}
	}
	return "", nil
}

// openNode opens the clone device, loading the driver once if that helps.
func openNode() (int, error) {
	fd, err := unix.Open(clonePath, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err == nil || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return fd, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), modprobeTimeout)
	defer cancel()
	if exec.CommandContext(ctx, modprobePath, "tun").Run() != nil {
		return -1, err
	}
	return unix.Open(clonePath, unix.O_RDWR|unix.O_CLOEXEC, 0)
}

// attach makes the interface. IFF_TUN_EXCL refuses one that exists, which is
// either in use or somebody's persistent device.
func attach(fd int, name string) error {
	request, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR | unix.IFF_TUN_EXCL)
	return unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
}

// inspect gathers the facts for the diagnosis; name is "" if no interface is
// in question.
func inspect(name string) host {
	exists := func(path string) bool { _, err := os.Stat(path); return err == nil }
	h := host{
		root:      os.Geteuid() == 0,
		container: exists("/.dockerenv") || exists("/run/.containerenv") || exists("/run/systemd/container"),
		driver:    exists("/sys/class/misc/tun"),
		kernel:    "(unknown)",
	}
	var uts unix.Utsname
	if unix.Uname(&uts) == nil {
		h.kernel = unix.ByteSliceToString(uts.Release[:])
		h.modulesAbsent = !exists(filepath.Join("/lib/modules", h.kernel))
	}
	if name == "" {
		return h
	}
	link, err := netlink.LinkByName(name)
	if err != nil {
		return h
	}
	h.taken = link.Type()
	h.holder = holder(name)
	return h
}

// holder finds the process that has the TUN device open, by the "iff:" line
// which the kernel shows in the descriptor's information. The line does not say
// of which network namespace the device is: only a process that is in ours is
// blamed, since containers and test hosts give their devices the same names.
func holder(name string) string {
	infos, err := filepath.Glob("/proc/[0-9]*/fdinfo/*")
	if err != nil {
		return ""
	}
	for _, info := range infos {
		// The link is far cheaper to read than the information, and there
		// are thousands of descriptors.
		target, err := os.Readlink(strings.Replace(info, "/fdinfo/", "/fd/", 1))
		if err != nil || target != clonePath {
			continue
		}
		text, err := os.ReadFile(info)
		if err != nil || !holds(string(text), name) {
			continue
		}
		pid := strings.Split(info, "/")[2]
		if !inOurNetwork(pid) {
			continue
		}
		command, err := os.ReadFile(filepath.Join("/proc", pid, "comm"))
		if err != nil {
			return "process " + pid
		}
		return fmt.Sprintf("process %s (%s)", pid, strings.TrimSpace(string(command)))
	}
	return ""
}

// inOurNetwork tells whether a thread of the process is in the network namespace
// of this thread.
func inOurNetwork(pid string) bool {
	ours, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		return true // without namespaces there is one network
	}
	threads, err := filepath.Glob("/proc/" + pid + "/task/*/ns/net")
	if err != nil {
		return false
	}
	return slices.ContainsFunc(threads, func(thread string) bool {
		theirs, err := os.Readlink(thread)
		return err == nil && theirs == ours
	})
}

func holds(fdinfo, name string) bool {
	for line := range strings.Lines(fdinfo) {
		if value, ok := strings.CutPrefix(line, "iff:"); ok {
			return strings.TrimSpace(value) == name
		}
	}
	return false
}
