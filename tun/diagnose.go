package tun

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"syscall"
)

// checkUtunName takes "utun", for the next free number, or that with a number.
func checkUtunName(name string) error {
	number, ok := strings.CutPrefix(name, "utun")
	if ok && number == "" {
		return nil
	}
	if n, err := strconv.ParseUint(number, 10, 32); ok && err == nil && strconv.FormatUint(n, 10) == number && n < maxUtun {
		return nil
	}
	return &Error{
		Kind: ErrBadName, Name: name, Cause: "macOS names its TUN devices utun0, utun1 and so on",
		Remedy: "choose utun, which takes the next free one",
	}
}

// maxUtun bounds the numbers: IFNAMSIZ would allow more, and nobody has them.
const maxUtun = 1 << 16

// diagnoseUtun explains a failure to make a utun device. The errors are those
// of the steps of sys/kern_control.h: a socket of the system's family, the
// control by its name, connect to a unit of it.
func diagnoseUtun(name string, err error) error {
	e := &Error{Name: name, Err: err}
	switch {
	case errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES):
		e.Kind, e.Cause, e.Remedy = ErrNoPermission, "only root may make a utun device", "run: sudo causewayd run, or run it as the system's service"
	case errors.Is(err, syscall.EBUSY):
		e.Kind, e.Cause, e.Remedy = ErrNameTaken, "another program has this utun device", "choose utun, which takes the next free one"
	case errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.EPROTONOSUPPORT) || errors.Is(err, syscall.EAFNOSUPPORT):
		e.Kind, e.Cause, e.Remedy = ErrNoDevice, "this system has no utun control", "run it on macOS itself, not in a sandbox that lacks it"
	case errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE):
		e.Kind, e.Cause, e.Remedy = ErrFailed, "too many files are open", "raise NumberOfFiles in the launchd property list, or end what has them open"
	case errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.ENOMEM):
		e.Kind, e.Cause, e.Remedy = ErrFailed, "the system is out of memory for another interface", "end programs that made many interfaces, or reboot"
	default:
		e.Kind, e.Cause, e.Remedy = ErrFailed, "the system refused to make the device", "see the system's error"
	}
	return e
}

// maxLinuxName is IFNAMSIZ less the terminating zero byte, in bytes.
const maxLinuxName = 15

// checkLinuxName refuses what the kernel would refuse with a bare EINVAL, and
// what it would take otherwise than meant: "%d" numbers the interface, an empty
// name invents one.
func checkLinuxName(name string) error {
	bad := func(cause string) error {
		return &Error{
			Kind: ErrBadName, Name: name, Cause: cause,
			Remedy: fmt.Sprintf("choose a name of 1 to %d letters, digits, '-', '_' or '.', for example causeway0", maxLinuxName),
		}
	}
	switch {
	case name == "":
		return bad("the interface name is empty")
	case len(name) > maxLinuxName:
		return bad(fmt.Sprintf("the interface name has %d bytes, the kernel allows %d", len(name), maxLinuxName))
	case name == "." || name == ".." || name == "all" || name == "default":
		return bad("the kernel reserves this interface name")
	case strings.ContainsAny(name, "/:%"):
		return bad("the interface name has one of the characters / : %")
	}
	for _, c := range []byte(name) {
		if c <= ' ' || c >= 0x7f {
			return bad("the interface name has a character that is not printable ASCII")
		}
	}
	return nil
}

// host is what the diagnosis needs to know of the machine, gathered only after
// a failure.
type host struct {
	root          bool   // effective uid 0
	container     bool   // a container's marks were found
	driver        bool   // the kernel has the TUN driver loaded
	kernel        string // release of the running kernel
	modulesAbsent bool   // no modules are installed for the running kernel
	taken         string // kind of an interface that has the name, "" if none
	holder        string // process that holds that interface, "" if unknown
}

// diagnoseNode explains a failure to open /dev/net/tun.
func diagnoseNode(name string, err error, h host) error {
	e := &Error{Name: name, Err: err}
	driverless := errors.Is(err, syscall.ENODEV) || errors.Is(err, syscall.ENXIO) // there is a node, and nobody behind it
	missing := driverless || errors.Is(err, fs.ErrNotExist)
	switch {
	case driverless && h.driver:
		return notTheDevice(e)
	case driverless && h.container:
		e.Kind = ErrNoDevice
		e.Cause = "the kernel " + h.kernel + " of the machine that runs this container has no TUN driver loaded"
		e.Remedy = "run on that machine: modprobe tun"
	case missing && h.container:
		e.Kind = ErrNoDevice
		e.Cause = "this container has no /dev/net/tun"
		e.Remedy = "give the container the device and the capability: --device /dev/net/tun --cap-add NET_ADMIN"
	case missing && h.driver:
		e.Kind = ErrNoDevice
		e.Cause = "the kernel has the TUN driver, but /dev/net/tun is missing"
		e.Remedy = "make the node: mkdir -p /dev/net && mknod -m 666 /dev/net/tun c 10 200"
	case missing && h.modulesAbsent:
		e.Kind = ErrNoDevice
		e.Cause = "the running kernel " + h.kernel + " has no TUN driver, and its modules are not installed"
		e.Remedy = "reboot if the kernel was upgraded, else install the modules of this kernel"
	case missing:
		e.Kind = ErrNoDevice
		e.Cause = "the kernel " + h.kernel + " has no TUN driver loaded"
		e.Remedy = "run: modprobe tun"
	case errors.Is(err, fs.ErrPermission) && h.root:
		e.Kind = ErrNoPermission
		e.Cause = "a sandbox forbids /dev/net/tun to this process, although it is root"
		e.Remedy = "allow the device: DeviceAllow=/dev/net/tun rw in the unit, --device /dev/net/tun for a container"
	case errors.Is(err, fs.ErrPermission):
		e.Kind = ErrNoPermission
		e.Cause = "this user may not open /dev/net/tun"
		e.Remedy = "run as root or as the system service"
	default:
		e.Kind = ErrFailed
		e.Cause = "cannot open /dev/net/tun"
		e.Remedy = "see the system's error"
	}
	return e
}

// notTheDevice is for a node that leads to no device, or to another one, such as
// /dev/null put over it.
func notTheDevice(e *Error) *Error {
	e.Kind = ErrNoDevice
	e.Cause = "/dev/net/tun is there, but it is not the TUN device"
	e.Remedy = "make the node anew: umount /dev/net/tun; rm -f /dev/net/tun && mknod -m 666 /dev/net/tun c 10 200"
	return e
}

// diagnoseCreate explains a failure of TUNSETIFF on the open node.
func diagnoseCreate(name string, err error, h host) error {
	e := &Error{Name: name, Err: err}
	switch {
	case h.taken != "" && (errors.Is(err, syscall.EBUSY) || errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.EEXIST)):
		e.Kind = ErrNameTaken
		switch {
		case h.taken != "tuntap":
			e.Cause = "the name belongs to another interface, of kind " + h.taken
		case h.holder != "":
			e.Cause = "the name belongs to a TUN device held by " + h.holder
		default:
			e.Cause = "the name belongs to a TUN device that already exists"
		}
		e.Remedy = "stop what owns it (ip -d link show " + name + ") or choose another interface name"
	case errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES):
		e.Kind = ErrNoPermission
		e.Cause = "this process lacks the capability CAP_NET_ADMIN"
		e.Remedy = "run as root or as the system service"
		if h.container {
			e.Remedy = "start the container with --cap-add NET_ADMIN"
		}
	case errors.Is(err, syscall.ENOTTY):
		return notTheDevice(e)
	case errors.Is(err, syscall.EBUSY):
		e.Kind = ErrNameTaken
		e.Cause = "an interface of this name existed a moment ago"
		e.Remedy = "try again"
	default:
		e.Kind = ErrFailed
		e.Cause = "the kernel refused to create the interface"
		e.Remedy = "see the system's error"
	}
	return e
}
