package tun

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
)

func TestDiagnoseNode(t *testing.T) {
	tests := []struct {
		name   string
		err    error
		host   host
		kind   error
		cause  string
		remedy string
	}{
		{"container without the device", syscall.ENOENT, host{root: true, container: true, driver: true}, ErrNoDevice, "this container has no /dev/net/tun", "--device /dev/net/tun --cap-add NET_ADMIN"},
		{"node missing, driver there", syscall.ENOENT, host{root: true, driver: true}, ErrNoDevice, "/dev/net/tun is missing", "mknod"},
		{"module not loaded", syscall.ENODEV, host{root: true, kernel: "6.1.0"}, ErrNoDevice, "kernel 6.1.0 has no TUN driver loaded", "modprobe tun"},
		{"no such device or address", syscall.ENXIO, host{root: true, kernel: "6.1.0"}, ErrNoDevice, "no TUN driver loaded", "modprobe tun"},
		{"the node of no device", syscall.ENODEV, host{root: true, driver: true}, ErrNoDevice, "it is not the TUN device", "make the node anew"},
		{"container's machine without the driver", syscall.ENODEV, host{root: true, container: true, kernel: "6.1.0", modulesAbsent: true}, ErrNoDevice, "of the machine that runs this container has no TUN driver", "run on that machine: modprobe tun"},
		{"kernel was upgraded", syscall.ENOENT, host{root: true, kernel: "6.1.0", modulesAbsent: true}, ErrNoDevice, "its modules are not installed", "reboot"},
		{"not root", syscall.EACCES, host{}, ErrNoPermission, "this user may not", "run as root"},
		{"sandboxed root", syscall.EPERM, host{root: true}, ErrNoPermission, "a sandbox forbids", "DeviceAllow"},
		{"out of descriptors", syscall.EMFILE, host{root: true}, ErrFailed, "cannot open /dev/net/tun", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			checkError(t, diagnoseNode("causeway0", test.err, test.host), test.kind, test.err, test.cause, test.remedy)
		})
	}
}

func TestDiagnoseCreate(t *testing.T) {
	tests := []struct {
		name   string
		err    error
		host   host
		kind   error
		cause  string
		remedy string
	}{
		{"held by a process", syscall.EBUSY, host{taken: "tuntap", holder: "process 7 (openvpn)"}, ErrNameTaken, "held by process 7 (openvpn)", "ip -d link show causeway0"},
		{"persistent", syscall.EBUSY, host{taken: "tuntap"}, ErrNameTaken, "already exists", "another interface name"},
		{"a bridge", syscall.EBUSY, host{taken: "bridge"}, ErrNameTaken, "of kind bridge", "another interface name"},
		{"a bridge, in the words of another kernel", syscall.EINVAL, host{taken: "bridge"}, ErrNameTaken, "of kind bridge", ""},
		{"gone again", syscall.EBUSY, host{}, ErrNameTaken, "a moment ago", "try again"},
		{"no capability", syscall.EPERM, host{root: true}, ErrNoPermission, "CAP_NET_ADMIN", "run as root"},
		{"no capability in a container", syscall.EPERM, host{root: true, container: true}, ErrNoPermission, "CAP_NET_ADMIN", "--cap-add NET_ADMIN"},
		{"another device's node", syscall.ENOTTY, host{root: true}, ErrNoDevice, "it is not the TUN device", "mknod -m 666"},
		{"out of memory", syscall.ENOMEM, host{root: true}, ErrFailed, "refused", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			checkError(t, diagnoseCreate("causeway0", test.err, test.host), test.kind, test.err, test.cause, test.remedy)
		})
	}
}

func TestUtunNames(t *testing.T) {
	for _, good := range []string{"utun", "utun0", "utun4", "utun65535"} {
		if err := checkUtunName(good); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", "tun", "causeway0", "utun-1", "utun+1", "utun01", "utun4 ", "utun65536", "utun4294967296", "xutun4"} {
		err := checkUtunName(bad)
		if err == nil {
			t.Errorf("took %q", bad)
			continue
		}
		checkError(t, err, ErrBadName, nil, "choose utun")
	}
}

// TestDiagnoseUtun has the errors in the clothes that the library gives them.
func TestDiagnoseUtun(t *testing.T) {
	seen := map[string]bool{}
	for errno, kind := range map[syscall.Errno]error{
		syscall.EPERM: ErrNoPermission, syscall.EBUSY: ErrNameTaken, syscall.ENOENT: ErrNoDevice,
		syscall.EMFILE: ErrFailed, syscall.ENOBUFS: ErrFailed, syscall.EIO: ErrFailed,
	} {
		wrapped := fmt.Errorf("IoctlGetCtlInfo: %w", errno)
		err := diagnoseUtun("utun4", wrapped)
		checkError(t, err, kind, errno)
		var diagnosed *Error
		if errors.As(err, &diagnosed) && seen[diagnosed.Cause] {
			t.Errorf("%v has the cause of another", errno)
		}
		seen[diagnosed.Cause] = true
	}
}

func checkError(t *testing.T, err, kind, cause error, texts ...string) {
	t.Helper()
	var diagnosed *Error
	if !errors.As(err, &diagnosed) {
		t.Fatalf("%T %v is no diagnosis", err, err)
	}
	if !errors.Is(err, kind) {
		t.Errorf("%v: not of the kind %v", err, kind)
	}
	if cause != nil && !errors.Is(err, cause) {
		t.Errorf("%v: does not wrap %v", err, cause)
	}
	if diagnosed.Cause == "" || diagnosed.Remedy == "" {
		t.Errorf("%+v: a part is missing", diagnosed)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("no %q in %q", text, err)
		}
	}
}

func TestLinuxNames(t *testing.T) {
	for _, good := range []string{"causeway0", "a", "fifteen-bytes-x", "x_y.z-1", "tun0"} {
		if err := checkLinuxName(good); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", ".", "..", "all", "default", "sixteen-bytes-xx", "a/b", "a:1", "cw%d", "a b", "a\x00", "a\n", "ä", strings.Repeat("x", 300)} {
		err := checkLinuxName(bad)
		if err == nil {
			t.Errorf("took %q", bad)
			continue
		}
		checkError(t, err, ErrBadName, nil)
	}
}

func TestMTULimits(t *testing.T) {
	for mtu, good := range map[int]bool{-1: false, 0: false, 1279: false, 1280: true, 1500: true, 65535: true, 65536: false} {
		err := checkMTU("causeway0", mtu)
		if good != (err == nil) {
			t.Errorf("MTU %d: %v", mtu, err)
		}
		if err != nil {
			checkError(t, err, ErrBadMTU, nil)
		}
	}
}
