package platform

import (
	"context"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/causewayhq/causeway/netcfg"
)

// events collects what a watch reports.
type events struct {
	mu   sync.Mutex
	list []netcfg.Event
}

func (e *events) add(event netcfg.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, event)
}

func (e *events) count(event netcfg.Event) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := 0
	for _, have := range e.list {
		if have == event {
			n++
		}
	}
	return n
}

// TestWatchRepairs takes away each thing in turn, as another program would.
func TestWatchRepairs(t *testing.T) {
	needNest(t)
	plainFiles(t)
	o, _ := newTestOS(t, t.TempDir(), "")
	openTUN(t, "cwwatch0")
	var seen events
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- o.Watch(ctx, seen.add) }()
	t.Cleanup(func() { cancel(); <-done })
	if err := o.Apply(t.Context(), testConfig("cwwatch0")); err != nil {
		t.Fatal(err)
	}
	whole := func() bool {
		return strings.Contains(ip(t, "-6", "route"), testPrefix+" dev cwwatch0 proto 173") &&
			strings.Contains(ip(t, "addr", "show", "dev", "cwwatch0"), testAddress) &&
			strings.Contains(readFile(t, "/etc/hosts"), "main.myws.me.coder")
	}
	eventually(t, "all is in place", whole)
	for _, damage := range []string{
		"-6 route del " + testPrefix + " dev cwwatch0",
		"addr del " + testAddress + " dev cwwatch0",
		"addr flush dev cwwatch0",
		"link set cwwatch0 down",
	} {
		// The watch may not listen yet, or repair between two commands.
		_ = exec.Command("ip", strings.Fields(damage)...).Run()
		eventually(t, "repaired after ip "+damage, whole)
	}
	if n := seen.count(netcfg.NetworkChanged); n != 0 {
		t.Errorf("%d events for changes of our own interface", n)
	}

	// A foreign network is an event, once, and a reason to look at the rest:
	// whoever set it up may have rewritten files.
	plainFiles(t)
	openTUN(t, "foreign0")
	ip(t, "addr", "add", "198.51.100.1/24", "dev", "foreign0")
	ip(t, "link", "set", "foreign0", "up")
	ip(t, "route", "add", "default", "via", "198.51.100.2")
	eventually(t, "the event", func() bool { return seen.count(netcfg.NetworkChanged) > 0 })
	eventually(t, "the hosts file is written again", whole)
	if n := seen.count(netcfg.Woke); n != 0 {
		t.Errorf("%d wakes", n)
	}
}

// TestDeviceComesBack: the interface goes with its device and comes back with
// another index.
func TestDeviceComesBack(t *testing.T) {
	needNest(t)
	plainFiles(t)
	o, _ := newTestOS(t, t.TempDir(), "")
	device := openTUN(t, "cwwatch1")
	watch(t, o)
	if err := o.Apply(t.Context(), testConfig("cwwatch1")); err != nil {
		t.Fatal(err)
	}
	if err := device.Close(); err != nil {
		t.Fatal(err)
	}
	if err := o.again(t.Context(), false); err == nil {
		t.Error("applied to an interface that has gone")
	}
	openTUN(t, "cwwatch1")
	if err := o.again(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	mustContain(t, ip(t, "-6", "route"), testPrefix+" dev cwwatch1 proto 173")
	if err := o.Cleanup(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := o.journal.Entries(); len(left) != 0 {
		t.Errorf("entries of the first device: %+v", left)
	}
}
