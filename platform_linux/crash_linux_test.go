package platform

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/causewayhq/causeway/netcfg"
	"github.com/causewayhq/causeway/tun"
)

// role is what a child process is told to do: be a daemon that applies a
// configuration, says so, and waits to be killed.
type role struct {
	StateDir, Bus string
	Interface     string // the test configuration on it
	Kept          bool   // descriptor 3 is the TUN device already
	Own           bool   // only own the name of resolved on the bus
}

// play runs in the child; it returns only after a failure.
func play(text string) int {
	var r role
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		fmt.Println(err)
		return 1
	}
	if r.Own {
		return own(r.Bus)
	}
	var device tun.Device
	var err error
	want := testConfig(r.Interface)
	if r.Kept {
		device, err = tun.Adopt(3, want.MTU)
	} else {
		device, err = tun.Open(want.Interface, want.MTU)
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer func() { _ = device.Close() }()
	o, err := New(Options{Logger: slog.New(slog.DiscardHandler), StateDir: r.StateDir, Bus: r.Bus})
	if err == nil {
		err = o.Apply(context.Background(), want)
	}
	for err == nil && o.hosts.Status().Pending {
		time.Sleep(time.Millisecond)
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("applied")
	time.Sleep(time.Minute) // to be killed long before
	return 1
}

// own plays a resolved that answers a ping and nothing else.
func own(bus string) int {
	conn, err := dbus.Connect(bus)
	if err == nil {
		_, err = conn.RequestName(resolveName, dbus.NameFlagDoNotQueue)
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("owned")
	time.Sleep(time.Minute)
	return 1
}

// runAndKill lets a child apply the configuration and kills it with -9.
func runAndKill(t *testing.T, r role, files ...*os.File) {
	t.Helper()
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command("/proc/self/exe")
	child.Env = append(os.Environ(), nestVar+"="+string(text))
	child.ExtraFiles = files
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	_ = child.Process.Kill()
	_ = child.Wait()
	if err != nil || strings.TrimSpace(line) != "applied" {
		t.Fatalf("child: %q %v", line, err)
	}
}

// noBus is the address of a bus that is not there.
func noBus(t *testing.T) string {
	t.Helper()
	return "unix:path=" + filepath.Join(t.TempDir(), "no-bus")
}

func cleanupTwice(t *testing.T, dir, bus string) {
	t.Helper()
	o, _ := newTestOS(t, dir, bus)
	for range 2 {
		if err := o.Cleanup(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if left := o.journal.Entries(); len(left) != 0 {
		t.Errorf("journal: %+v", left)
	}
}

// TestKilledDaemon has the device go with the process: what stays is the
// section in the hosts file.
func TestKilledDaemon(t *testing.T) {
	for _, lost := range []bool{false, true} {
		t.Run(fmt.Sprintf("journal lost %v", lost), func(t *testing.T) {
			needNest(t)
			plainFiles(t)
			before, dir, bus := snapshot(t), t.TempDir(), noBus(t)
			runAndKill(t, role{StateDir: dir, Bus: bus, Interface: "cwkill0"})
			mustContain(t, readFile(t, "/etc/hosts"), "main.myws.me.coder")
			if snapshot(t) == before {
				t.Fatal("the comparison does not see what was left")
			}
			if lost {
				loseJournal(t, dir)
			}
			cleanupTwice(t, dir, bus)
			same(t, snapshot(t), before)
		})
	}
}

func loseJournal(t *testing.T, dir string) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, journalName)); err != nil {
		t.Fatal(err)
	}
}

// TestKilledDaemonWithKeptDevice has somebody keep the device, as the service
// manager does: addresses, routes and per-link DNS stay too.
func TestKilledDaemonWithKeptDevice(t *testing.T) {
	for _, lost := range []bool{false, true} {
		t.Run(fmt.Sprintf("journal lost %v", lost), func(t *testing.T) {
			needNest(t)
			stubFiles(t)
			bus := startBus(t)
			fake := newFake().start(t, bus)
			kept := keptTUN(t, "cwkill1")
			ip(t, "route", "add", "198.51.100.0/24", "dev", "lo") // foreign
			t.Cleanup(func() { ip(t, "route", "del", "198.51.100.0/24", "dev", "lo") })
			before, dir := snapshot(t), t.TempDir()
			runAndKill(t, role{StateDir: dir, Bus: bus, Interface: "cwkill1", Kept: true}, kept)
			same(t, fake.transcript(), goldenSet)
			mustContain(t, ip(t, "-6", "route"), testPrefix+" dev cwkill1 proto 173")
			if lost {
				loseJournal(t, dir)
			}
			cleanupTwice(t, dir, bus)
			mustContain(t, fake.transcript(), goldenRevert)
			same(t, snapshot(t), before)
		})
	}
}

// keptTUN opens a device and keeps only its descriptor.
func keptTUN(t *testing.T, name string) *os.File {
	t.Helper()
	device, err := tun.Open(name, 1280)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.FcntlInt(device.File().Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := device.Close(); err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), "kept")
	t.Cleanup(func() { _ = file.Close() })
	return file
}

// TestRestartAdopts: the next daemon finds everything in place and changes
// nothing but what is new.
func TestRestartAdopts(t *testing.T) {
	needNest(t)
	stubFiles(t)
	bus := startBus(t)
	fake := newFake().start(t, bus)
	kept := keptTUN(t, "cwkill2")
	dir := t.TempDir()
	runAndKill(t, role{StateDir: dir, Bus: bus, Interface: "cwkill2", Kept: true}, kept)
	fake.transcript()
	applied := snapshot(t)
	o, log := newTestOS(t, dir, bus)
	if err := o.Apply(t.Context(), testConfig("cwkill2")); err != nil {
		t.Fatal(err)
	}
	same(t, snapshot(t), applied)
	same(t, fake.transcript(), "")
	mustLack(t, log.String(), "added")
	mustLack(t, log.String(), "removed")
}

// TestIndexOfAnother: after our device has gone, its index and name may be
// another's. Nothing of that is touched.
func TestIndexOfAnother(t *testing.T) {
	needNest(t)
	stubFiles(t)
	bus := startBus(t)
	fake := newFake().start(t, bus)
	dir := t.TempDir()
	runAndKill(t, role{StateDir: dir, Bus: bus, Interface: "cwkill3"})
	fake.transcript()
	o, _ := newTestOS(t, dir, bus)
	// The other device has the recorded name, and in a second record the
	// very index, from before a reboot.
	openTUN(t, "cwkill3")
	ip(t, "link", "set", "cwkill3", "up")
	ip(t, "addr", "add", testAddress, "dev", "cwkill3", "nodad")
	index := linkIndex(t, o, "cwkill3")
	if err := o.journal.Record(
		netcfg.Change{Kind: kindAddress, Interface: "cwkill3", Index: index, Value: testAddress, Epoch: "another boot"},
		netcfg.Change{Kind: kindResolved, Interface: "cwkill3", Index: index, Epoch: "another boot"},
		netcfg.Change{Kind: kindLink, Interface: "other", Index: index, Value: "up", Epoch: o.epoch},
	); err != nil {
		t.Fatal(err)
	}
	if err := o.removeHosts(t.Context()); err != nil { // that one is ours
		t.Fatal(err)
	}
	before := snapshot(t)
	if err := o.Cleanup(t.Context()); err != nil {
		t.Fatal(err)
	}
	same(t, snapshot(t), before)
	same(t, fake.transcript(), "")
	if left := o.journal.Entries(); len(left) != 0 {
		t.Errorf("journal: %+v", left)
	}
}

func linkIndex(t *testing.T, o *OS, name string) int {
	t.Helper()
	link, err := o.netlink.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return link.Attrs().Index
}

// TestCleanupWithoutResolved: a resolved that has died holds nothing that
// could be undone, and must not make the cleanup fail.
func TestCleanupWithoutResolved(t *testing.T) {
	needNest(t)
	stubFiles(t)
	bus := startBus(t)
	fake := newFake().start(t, bus)
	o, _ := newTestOS(t, t.TempDir(), bus)
	openTUN(t, "cwkill4")
	if err := o.Apply(t.Context(), testConfig("cwkill4")); err != nil {
		t.Fatal(err)
	}
	fake.stop()
	eventually(t, "the name is free", func() bool {
		var owned bool
		conn, err := dbus.Connect(bus)
		if err != nil {
			return false
		}
		defer func() { _ = conn.Close() }()
		err = conn.BusObject().Call("org.freedesktop.DBus.NameHasOwner", 0, resolveName).Store(&owned)
		return err == nil && !owned
	})
	if err := o.Cleanup(t.Context()); err != nil {
		t.Error(err)
	}
	if left := o.journal.Entries(); len(left) != 0 {
		t.Errorf("journal: %+v", left)
	}
}
