package tun

import (
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// store is a service manager: it holds duplicates, and may refuse.
type store struct {
	held   []int
	said   []string
	refuse error
}

func (s *store) Keep(fd int) error {
	s.said = append(s.said, "keep")
	if s.refuse != nil {
		return s.refuse
	}
	duplicate, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		s.held = append(s.held, duplicate)
	}
	return err
}

func (s *store) Forget() error {
	s.said = append(s.said, "forget")
	for _, fd := range s.held {
		_ = unix.Close(fd)
	}
	s.held = nil
	return s.refuse
}

// inherit is what the next process finds in its environment.
func (s *store) inherit(t *testing.T) (fds []int) {
	t.Helper()
	for _, fd := range s.held {
		duplicate, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		fds = append(fds, duplicate)
	}
	return fds
}

// bed is a keeper with its log.
type bed struct {
	*Keeper
	store *store
	log   *strings.Builder
}

func newBed(t *testing.T, s *store, inherited ...int) *bed {
	t.Helper()
	b := &bed{store: s, log: &strings.Builder{}}
	b.Keeper = NewKeeper(slog.New(slog.NewTextHandler(b.log, nil)), s, inherited)
	t.Cleanup(b.Release)
	return b
}

// end is the end of the process, by whatever.
func (b *bed) end() {
	if b.held >= 0 {
		_ = unix.Close(b.held)
	}
	b.held = -1
}

func (b *bed) open(t *testing.T, name string) Device {
	t.Helper()
	device, err := b.Open(name, 1280)
	if err != nil {
		t.Fatalf("open %s: %v\n%s", name, err, b.log)
	}
	t.Cleanup(func() { _ = device.Close() })
	device.(*guarded).Begin()
	return device
}

func index(t *testing.T, name string) int {
	t.Helper()
	link, err := netlink.LinkByName(name)
	if err != nil {
		return 0
	}
	return link.Attrs().Index
}

// A device outlives its reader and the process, and goes with Release.
func TestKeeper(t *testing.T) {
	inNamespace(t, unix.CLONE_NEWNET)
	s := &store{}
	first := newBed(t, s)
	if err := first.Check("cwtun0", 1280); err != nil || index(t, "cwtun0") != 0 {
		t.Fatalf("check: %v, index %d", err, index(t, "cwtun0"))
	}
	device := first.open(t, "cwtun0")
	born := index(t, "cwtun0")
	// The data plane is made anew.
	if err := device.Close(); err != nil {
		t.Fatal(err)
	}
	if first.Check("cwtun0", 1280) != nil || index(t, "cwtun0") != born {
		t.Fatal("the device has gone with its reader")
	}
	device = first.open(t, "cwtun0")
	// The process ends.
	_ = device.Close()
	left := s.inherit(t)
	first.end()
	second := newBed(t, s, left...)
	if err := second.Check("cwtun0", 1280); err != nil {
		t.Fatalf("check of a kept device: %v", err)
	}
	device = second.open(t, "cwtun0")
	if now := index(t, "cwtun0"); now != born || born == 0 {
		t.Fatalf("index %d became %d", born, now)
	}
	link, err := netlink.LinkByName("cwtun0")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		t.Fatal(err)
	}
	sendThrough(t, device, link)
	if got := strings.Join(s.said, " "); got != "keep" {
		t.Errorf("the store was told %s", got)
	}
	_ = device.Close()
	second.Release()
	if index(t, "cwtun0") != 0 || len(s.held) != 0 {
		t.Error("a device that was released is there")
	}
	second.Release()
}

// What is of no use is dropped, and why is logged.
func TestKeeperDrops(t *testing.T) {
	inNamespace(t, unix.CLONE_NEWNET)
	plain := func(t *testing.T) int {
		file, err := os.CreateTemp(t.TempDir(), "x")
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		return fd
	}
	bare := func(t *testing.T, name string, flags uint16) int {
		fd, err := unix.Open(clonePath, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		request, err := unix.NewIfreq(name)
		if err != nil {
			t.Fatal(err)
		}
		request.SetUint16(flags)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
			t.Fatal(err)
		}
		return fd
	}
	for name, test := range map[string]struct {
		kept   func(t *testing.T) int
		reason string
	}{
		"another name":     {func(t *testing.T) int { return bare(t, "cwold0", unix.IFF_TUN|unix.IFF_NO_PI|unix.IFF_VNET_HDR) }, "it is cwold0, wanted is cwtun0"},
		"other flags":      {func(t *testing.T) int { return bare(t, "cwtun0", unix.IFF_TUN|unix.IFF_NO_PI) }, "its flags"},
		"tap":              {func(t *testing.T) int { return bare(t, "cwtun0", unix.IFF_TAP|unix.IFF_NO_PI|unix.IFF_VNET_HDR) }, "its flags"},
		"no TUN device":    {plain, "it is not a TUN device"},
		"without a device": {func(t *testing.T) int { fd, _ := unix.Open(clonePath, unix.O_RDWR|unix.O_CLOEXEC, 0); return fd }, "its interface was deleted"},
		"deleted link": {func(t *testing.T) int {
			fd := bare(t, "cwtun0", unix.IFF_TUN|unix.IFF_NO_PI|unix.IFF_VNET_HDR)
			if out, err := exec.Command("ip", "link", "del", "cwtun0").CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			return fd
		}, "its interface was deleted"},
	} {
		t.Run(name, func(t *testing.T) {
			// A subtest runs on a thread of its own: it needs the namespace's.
			inNamespace(t, unix.CLONE_NEWNET)
			s := &store{}
			fd := test.kept(t)
			if err := s.Keep(fd); err != nil {
				t.Fatal(err)
			}
			descriptors := countDescriptors(t)
			b := newBed(t, s, fd)
			if err := b.Check("cwtun0", 1280); err != nil {
				t.Fatalf("check: %v", err)
			}
			// Closed here and in the store.
			if now := countDescriptors(t); now != descriptors-2 {
				t.Errorf("%d descriptors became %d", descriptors, now)
			}
			device := b.open(t, "cwtun0")
			if got := b.log.String(); !strings.Contains(got, test.reason) {
				t.Errorf("logged %s", got)
			}
			if got := strings.Join(s.said, " "); got != "keep forget keep" {
				t.Errorf("the store was told %s", got)
			}
			if index(t, "cwold0") != 0 {
				t.Error("the old device is there")
			}
			_ = device.Close()
		})
	}
}

// Of two descriptors one is enough, and the store is told.
func TestKeeperKeepsOne(t *testing.T) {
	inNamespace(t, unix.CLONE_NEWNET)
	s := &store{}
	first := newBed(t, s)
	device := first.open(t, "cwtun0")
	_ = device.Close()
	left := append(s.inherit(t), s.inherit(t)...)
	first.end()
	second := newBed(t, s, left...)
	device = second.open(t, "cwtun0")
	if got := strings.Join(s.said, " "); got != "keep forget keep" || len(s.held) != 1 {
		t.Errorf("the store was told %s and holds %d", got, len(s.held))
	}
	_ = device.Close()
	second.Release()
	if index(t, "cwtun0") != 0 {
		t.Error("a device that was released is there")
	}
}

// A device that nobody looked at is let go as well: none is wanted.
func TestKeeperReleasesUnseen(t *testing.T) {
	inNamespace(t, unix.CLONE_NEWNET)
	s := &store{}
	first := newBed(t, s)
	_ = first.open(t, "cwtun0").Close()
	left := append(s.inherit(t), s.inherit(t)...)
	first.end()
	newBed(t, s, left...).Release()
	if index(t, "cwtun0") != 0 || len(s.held) != 0 {
		t.Error("the device is there")
	}
}

// A store that refuses costs the device's second life, not its first.
func TestKeeperWithoutStore(t *testing.T) {
	inNamespace(t, unix.CLONE_NEWNET)
	for name, b := range map[string]*bed{
		"refused": newBed(t, &store{refuse: unix.EMSGSIZE}), "too many": newBed(t, &store{refuse: unix.ETOOMANYREFS}),
	} {
		device := b.open(t, "cwtun0")
		if !strings.Contains(b.log.String(), "device is not kept over a restart") {
			t.Errorf("%s: logged %s", name, b.log)
		}
		_ = device.Close()
		if index(t, "cwtun0") == 0 {
			t.Errorf("%s: the device has gone with its reader", name)
		}
		b.Release()
		if index(t, "cwtun0") != 0 {
			t.Errorf("%s: a device that was released is there", name)
		}
	}
	alone := NewKeeper(slog.New(slog.DiscardHandler), nil, nil)
	device, err := alone.Open("cwtun0", 1280)
	if err != nil {
		t.Fatal(err)
	}
	_ = device.Close()
	alone.Release()
	if index(t, "cwtun0") != 0 {
		t.Error("a device that was released is there")
	}
}

// read reads once, in the background, as a data plane does.
func read(device Device) <-chan error {
	ended := make(chan error, 1)
	go func() {
		buffers, sizes := make([][]byte, device.BatchSize()), make([]int, device.BatchSize())
		for i := range buffers {
			buffers[i] = make([]byte, 16+65535)
		}
		for {
			if _, err := device.Read(buffers, sizes, 16); err != nil {
				ended <- err
				return
			}
		}
	}()
	return ended
}

// An interface that is taken away is told of and can be made anew; a Close is
// no loss.
func TestLost(t *testing.T) {
	inNamespace(t, unix.CLONE_NEWNET)
	b := newBed(t, &store{})
	device := b.open(t, "cwtun0")
	ended := read(device)
	if out, err := exec.Command("ip", "link", "del", "cwtun0").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	select {
	case <-device.(*guarded).Lost():
	case <-time.After(5 * time.Second):
		t.Fatal("nobody noticed")
	}
	<-ended
	_ = device.Close()
	device = b.open(t, "cwtun0")
	if index(t, "cwtun0") == 0 || len(b.store.held) != 1 {
		t.Errorf("index %d, %d in the store", index(t, "cwtun0"), len(b.store.held))
	}
	ended = read(device)
	_ = device.Close()
	<-ended // with whichever of its errors the closed device has first
	select {
	case <-device.(*guarded).Lost():
		t.Error("a Close is told as a loss")
	default:
	}
}

// Packets wait in the interface's queue after Pause and before Begin: the next
// reader gets them.
func TestQueueIsLeftToTheNext(t *testing.T) {
	inNamespace(t, unix.CLONE_NEWNET)
	b := newBed(t, &store{})
	device := b.open(t, "cwtun0")
	link, err := netlink.LinkByName("cwtun0")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		t.Fatal(err)
	}
	sendThrough(t, device, link) // adds the address
	first := listen(device)
	began := time.Now()
	device.(*guarded).Pause()
	if took := time.Since(began); took >= pauseLimit {
		t.Errorf("the pause took %v", took)
	}
	socket, err := net.Dial("udp6", "[fd60:627a:a42b:7::2]:9")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = socket.Close() }()
	if _, err := socket.Write([]byte("between two readers")); err != nil {
		t.Fatal(err)
	}
	select {
	case <-first:
		t.Error("the packet was read after the pause")
	case <-time.After(50 * time.Millisecond):
	}
	_ = device.Close()
	next, err := b.Open("cwtun0", 1280)
	if err != nil {
		t.Fatal(err)
	}
	second := listen(next)
	select {
	case <-second:
		t.Fatal("the packet was read before Begin")
	case <-time.After(20 * time.Millisecond):
	}
	next.(*guarded).Begin()
	select {
	case got := <-second:
		if !got {
			t.Error("the packet is lost")
		}
	case <-time.After(5 * time.Second):
		t.Error("the packet does not come")
	}
	_ = next.Close()
}

// listen reads until the packet between two readers comes, which is true, or
// the device ends.
func listen(device Device) <-chan bool {
	found := make(chan bool, 1)
	go func() {
		const offset = 16
		buffers, sizes := make([][]byte, device.BatchSize()), make([]int, device.BatchSize())
		for i := range buffers {
			buffers[i] = make([]byte, offset+65535)
		}
		for {
			n, err := device.Read(buffers, sizes, offset)
			if err != nil {
				found <- false
				return
			}
			for i := range n {
				if strings.Contains(string(buffers[i][offset:offset+sizes[i]]), "between two readers") {
					found <- true
					return
				}
			}
		}
	}()
	return found
}
