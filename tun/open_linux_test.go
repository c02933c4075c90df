package tun

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// inNamespace gives the test's thread namespaces of its own. The thread is not
// unlocked, so it ends with the test and takes all with it.
func inNamespace(t *testing.T, flags int) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to make a network namespace")
	}
	runtime.LockOSThread()
	if err := unix.Unshare(flags); err != nil {
		t.Fatalf("unshare: %v", err)
	}
	if flags&unix.CLONE_NEWNS != 0 {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOpen(t *testing.T) {
	inNamespace(t, unix.CLONE_NEWNET)
	device, err := Open("cwtun0", 1280)
	if err != nil {
		t.Fatal(err)
	}
	link, err := netlink.LinkByName("cwtun0")
	if err != nil {
		t.Fatal(err)
	}
	if a := link.Attrs(); a.MTU != 1280 || a.TxQLen != queueLength || a.Flags&net.FlagUp != 0 || link.Type() != "tuntap" {
		t.Errorf("%s: %+v", link.Type(), a)
	}
	if device.BatchSize() < 2 {
		t.Errorf("batch size %d: the offloads are off", device.BatchSize())
	}
	if err := netlink.LinkSetUp(link); err != nil {
		t.Fatal(err)
	}
	addresses, err := netlink.AddrList(link, netlink.FAMILY_ALL)
	if err != nil || len(addresses) != 0 {
		t.Errorf("addresses after up: %v %v", addresses, err)
	}
	sendThrough(t, device, link)
	if err := device.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if _, err := netlink.LinkByName("cwtun0"); !errors.As(err, new(netlink.LinkNotFoundError)) {
		t.Errorf("the interface outlives its device: %v", err)
	}
}

// Nobody watches a device that is open: upstream would ask the kernel about it
// once a second, for ever.
func TestOpenIsIdle(t *testing.T) {
	inNamespace(t, unix.CLONE_NEWNET)
	device, err := Open("cwtun0", 1280)
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	if bytes.Contains(stacks, []byte("wireguard-go/tun.")) {
		t.Errorf("a goroutine of the device:\n%s", stacks)
	}
}

// sendThrough sends one datagram by the host's stack and reads it from the
// device.
func sendThrough(t *testing.T, device Device, link netlink.Link) {
	t.Helper()
	own := netip.MustParsePrefix("fd60:627a:a42b:7::1/64")
	err := netlink.AddrAdd(link, &netlink.Addr{
		IPNet: &net.IPNet{IP: own.Addr().AsSlice(), Mask: net.CIDRMask(64, 128)}, Flags: unix.IFA_F_NODAD,
	})
	if err != nil {
		t.Fatal(err)
	}
	socket, err := net.Dial("udp6", "[fd60:627a:a42b:7::2]:9")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = socket.Close() }()
	if _, err := socket.Write([]byte("over the causeway")); err != nil {
		t.Fatal(err)
	}
	const offset = 16
	buffers, sizes := make([][]byte, device.BatchSize()), make([]int, device.BatchSize())
	for i := range buffers {
		buffers[i] = make([]byte, offset+65535)
	}
	for range 10 { // the kernel may send multicast reports first
		n, err := device.Read(buffers, sizes, offset)
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			if strings.Contains(string(buffers[i][offset:offset+sizes[i]]), "over the causeway") {
				return
			}
		}
	}
	t.Error("the datagram did not come out")
}

func TestNameTaken(t *testing.T) {
	inNamespace(t, unix.CLONE_NEWNET)
	first, err := Open("cwtun0", 1280)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = first.Close() }()
	descriptors := countDescriptors(t)
	_, err = Open("cwtun0", 1280)
	checkError(t, err, ErrNameTaken, unix.EBUSY, "held by process ", "tun")

	for _, kind := range []string{"bridge", "veth"} {
		if out, err := exec.Command("ip", "link", "add", "cw-"+kind, "type", kind).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		_, err = Open("cw-"+kind, 1280)
		checkError(t, err, ErrNameTaken, unix.EBUSY, "another interface, of kind "+kind)
	}
	if out, err := exec.Command("ip", "tuntap", "add", "cw-kept", "mode", "tun").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	_, err = Open("cw-kept", 1280)
	checkError(t, err, ErrNameTaken, unix.EBUSY, "already exists")
	if now := countDescriptors(t); now != descriptors {
		t.Errorf("%d descriptors before the failures, %d after", descriptors, now)
	}
}

func countDescriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func TestBadRequests(t *testing.T) {
	_, err := Open("a-name-that-is-too-long", 1280)
	checkError(t, err, ErrBadName, nil, "23 bytes, the kernel allows 15")
	_, err = Open("cwtun0", 576)
	checkError(t, err, ErrBadMTU, nil, "MTU 576")
}

func TestNoCapability(t *testing.T) {
	inNamespace(t, unix.CLONE_NEWNET)
	// Capabilities belong to the thread, which ends with the test.
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capget(&header, &caps[0]); err != nil {
		t.Fatal(err)
	}
	caps[0].Effective &^= 1 << unix.CAP_NET_ADMIN
	if err := unix.Capset(&header, &caps[0]); err != nil {
		t.Fatal(err)
	}
	_, err := Open("cwtun0", 1280)
	checkError(t, err, ErrNoPermission, unix.EPERM, "CAP_NET_ADMIN")
}

func TestNotRoot(t *testing.T) {
	inNamespace(t, unix.CLONE_NEWNET|unix.CLONE_NEWNS)
	furnishDev(t)
	if err := unix.Mknod("/dev/net/tun", unix.S_IFCHR|0o600, int(unix.Mkdev(10, 200))); err != nil {
		t.Fatal(err)
	}
	// The file system's user is the thread's too; with it go the
	// capabilities that would pass over the mode.
	if _, _, errno := unix.RawSyscall(unix.SYS_SETFSUID, 65534, 0, 0); errno != 0 {
		t.Fatal(errno)
	}
	_, err := Open("cwtun0", 1280)
	checkError(t, err, ErrNoPermission, unix.EACCES)
}

func TestNoDevice(t *testing.T) {
	inNamespace(t, unix.CLONE_NEWNET|unix.CLONE_NEWNS)
	furnishDev(t)
	_, err := Open("cwtun0", 1280)
	checkError(t, err, ErrNoDevice, unix.ENOENT, "/dev/net/tun")

	// A node whose driver is not there: minor 199 belongs to nobody.
	if err := unix.Mknod("/dev/net/tun", unix.S_IFCHR|0o666, int(unix.Mkdev(10, 199))); err != nil {
		t.Fatal(err)
	}
	_, err = Open("cwtun0", 1280)
	checkError(t, err, ErrNoDevice, unix.ENODEV)
}

// furnishDev hides /dev/net behind an empty directory of the thread's own.
func furnishDev(t *testing.T) {
	t.Helper()
	if err := unix.Mount("tmpfs", "/dev/net", "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
}

// TestAdopt plays the service manager, which keeps a descriptor while the
// daemon that opened it goes away.
func TestAdopt(t *testing.T) {
	inNamespace(t, unix.CLONE_NEWNET)
	first, err := Open("cwtun0", 1280)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := unix.FcntlInt(first.File().Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	before, err := netlink.LinkByName("cwtun0")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(before); err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := Adopt(kept, 1280)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = second.Close() }()
	after, err := netlink.LinkByName("cwtun0")
	if err != nil || after.Attrs().Index != before.Attrs().Index {
		t.Fatalf("index %d became %v, %v", before.Attrs().Index, after, err)
	}
	sendThrough(t, second, after)
}

func TestAdoptRefuses(t *testing.T) {
	inNamespace(t, unix.CLONE_NEWNET)
	file, err := os.Create(filepath.Join(t.TempDir(), "plain"))
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Dup(int(file.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	_ = file.Close()
	_, err = Adopt(fd, 1280)
	checkError(t, err, ErrFailed, nil, "not that of a TUN device")
	if err := unix.Close(fd); !errors.Is(err, unix.EBADF) {
		t.Errorf("the refused descriptor was left open: %v", err)
	}
	_, err = Adopt(-1, 1280)
	checkError(t, err, ErrFailed, unix.EBADF)
}

func TestHolds(t *testing.T) {
	const info = "pos:\t0\nflags:\t02004002\nmnt_id:\t22\niff:\tcauseway0\n"
	if !holds(info, "causeway0") || holds(info, "causeway") || holds("pos:\t0\n", "causeway0") {
		t.Error("the interface of a descriptor is misread")
	}
}

// TestHolderOfAnotherNetwork: a device of the same name in another namespace is
// nobody's fault.
func TestHolderOfAnotherNetwork(t *testing.T) {
	inNamespace(t, unix.CLONE_NEWNET)
	theirs, err := Open("cwtun0", 1280)
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command("sleep", "60")
	child.ExtraFiles = []*os.File{theirs.File()}
	if err := child.Start(); err != nil { // in the namespace of this thread
		t.Fatal(err)
	}
	defer func() { _ = child.Process.Kill(); _ = child.Wait() }()
	_ = theirs.Close()
	want := fmt.Sprintf("process %d (sleep)", child.Process.Pid)
	if who := holder("cwtun0"); who != want {
		t.Errorf("held by %q, want %s", who, want)
	}
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	if who := holder("cwtun0"); who != "" {
		t.Errorf("blames %s", who)
	}
}
