package platform

import (
	"bufio"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/causewayhq/causeway/netcfg"
)

// goldenSet is all that resolved is told, in order.
const goldenSet = `SetLinkDefaultRoute LINK false
SetLinkLLMNR LINK no
SetLinkMulticastDNS LINK no
SetLinkDNSSEC LINK no
SetLinkDNSOverTLS LINK no
SetLinkDomains LINK coder:true
SetLinkDNS LINK 10:fd60:627a:a42b::53
FlushCaches`

const goldenRevert = "RevertLink LINK\nFlushCaches"

// stubFiles makes a host whose applications ask systemd-resolved.
func stubFiles(t *testing.T) {
	t.Helper()
	plainFiles(t)
	writeFile(t, "/etc/resolv.conf", "nameserver 127.0.0.53\n")
}

func TestResolvedTranscript(t *testing.T) {
	needNest(t)
	stubFiles(t)
	bus := startBus(t)
	fake := newFake().start(t, bus)
	o, _ := newTestOS(t, t.TempDir(), bus)
	openTUN(t, "cwres0")
	before := snapshot(t)
	want := testConfig("cwres0")
	if err := o.Apply(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	same(t, fake.transcript(), goldenSet)
	same(t, o.DNSMode(), ModeResolved)
	same(t, readFile(t, "/etc/resolv.conf"), "nameserver 127.0.0.53\n")

	// The same again, and a new name, are no reason to disturb resolved.
	want.DNS.Hosts = netcfg.ListHosts(netcfg.Host{Name: "other.myws.me.coder", Addr: testAgent})
	if err := o.Apply(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	same(t, fake.transcript(), "")

	want.DNS.Suffixes = []string{"zone.example", "coder"}
	if err := o.Apply(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	mustContain(t, fake.transcript(), "SetLinkDomains LINK coder:true,zone.example:true")

	if err := o.Apply(t.Context(), netcfg.Config{}); err != nil {
		t.Fatal(err)
	}
	same(t, fake.transcript(), goldenRevert)
	same(t, o.DNSMode(), "")
	same(t, snapshot(t), before)
}

// TestLinkSettingsOfOthers: what somebody else set on our link, such as the
// DNS-over-TLS that our server does not speak, is noticed and set back.
func TestLinkSettingsOfOthers(t *testing.T) {
	needNest(t)
	stubFiles(t)
	bus := startBus(t)
	fake := newFake().start(t, bus)
	o, _ := newTestOS(t, t.TempDir(), bus)
	openTUN(t, "cwres9")
	index := int32(linkIndex(t, o, "cwres9"))
	for _, s := range []setting{
		{"SetLinkDNSOverTLS", "", "yes"}, {"SetLinkDNSSEC", "", "yes"}, {"SetLinkLLMNR", "", "yes"}, {"SetLinkDefaultRoute", "", true},
	} {
		if err := o.Apply(t.Context(), testConfig("cwres9")); err != nil {
			t.Fatal(err)
		}
		if err := fake.setting(s.method, index, s.value); err != nil {
			t.Fatal(err)
		}
		fake.transcript()
		if err := o.Apply(t.Context(), testConfig("cwres9")); err != nil {
			t.Fatal(err)
		}
		same(t, fake.transcript(), goldenSet)
	}
}

func TestOldResolved(t *testing.T) {
	needNest(t)
	stubFiles(t)
	bus := startBus(t)
	fake := newFake()
	fake.missing = map[string]bool{"SetLinkDefaultRoute": true, "SetLinkDNSOverTLS": true}
	fake.fail["SetLinkDomains"] = errTooBig
	fake.start(t, bus)
	o, _ := newTestOS(t, t.TempDir(), bus)
	openTUN(t, "cwres1")
	want := testConfig("cwres1")
	want.DNS.Suffixes = append(want.DNS.Suffixes, "b.2.4.a.a.7.2.6.0.6.d.f.ip6.arpa")
	if err := o.Apply(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	same(t, fake.transcript(), `SetLinkLLMNR LINK no
SetLinkMulticastDNS LINK no
SetLinkDNSSEC LINK no
SetLinkDomains LINK b.2.4.a.a.7.2.6.0.6.d.f.ip6.arpa:true,coder:true
SetLinkDomains LINK coder:true
SetLinkDNS LINK 10:fd60:627a:a42b::53
FlushCaches`)
	same(t, o.DNSMode(), ModeResolved)
}

// watch runs Watch for the time of the test, and waits for its end.
func watch(t *testing.T, o *OS) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- o.Watch(ctx, func(netcfg.Event) {}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("watch: %v", err)
		}
	})
}

func TestResolvedComesAndGoes(t *testing.T) {
	needNest(t)
	stubFiles(t)
	bus := startBus(t)
	fake := newFake().start(t, bus)
	o, log := newTestOS(t, t.TempDir(), bus)
	openTUN(t, "cwres2")
	watch(t, o)
	if err := o.Apply(t.Context(), testConfig("cwres2")); err != nil {
		t.Fatal(err)
	}
	same(t, fake.transcript(), goldenSet)

	// Somebody reverts our link.
	fake.lose(t)
	eventually(t, "our link is set up again", func() bool {
		fake.announce(t) // until the watch listens
		return fake.configured()
	})
	mustContain(t, fake.transcript(), goldenSet)

	// It dies: names go to the hosts file, which the stub does not need.
	fake.stop()
	eventually(t, "names are in the hosts file", func() bool {
		return o.DNSMode() == ModeHosts && strings.Contains(readFile(t, "/etc/hosts"), "main.myws.me.coder")
	})

	// Another one comes up and knows nothing.
	next := newFake().start(t, bus)
	eventually(t, "the new one is told", next.configured)
	same(t, next.transcript(), goldenSet)
	eventually(t, "the hosts file is the net again", func() bool { return o.DNSMode() == ModeResolved })
	mustContain(t, log.String(), "resolv.conf=stub nss-resolve=unused resolved=absent mode=hosts")
}

func TestResolvedHangs(t *testing.T) {
	needNest(t)
	stubFiles(t)
	bus := startBus(t)
	fake := newFake()
	release := make(chan struct{})
	fake.hang["SetLinkDNS"] = release
	fake.start(t, bus)
	t.Cleanup(func() { close(release) })
	o, _ := newTestOS(t, t.TempDir(), bus)
	o.bus.timeout = 200 * time.Millisecond
	openTUN(t, "cwres3")
	err := o.Apply(t.Context(), testConfig("cwres3"))
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "call SetLinkDNS of systemd-resolved: no answer within 200ms") {
		t.Errorf("%v", err)
	}
	same(t, o.DNSMode(), ModeHosts)
	mustContain(t, ip(t, "addr", "show", "dev", "cwres3"), testAddress)
	mustContain(t, readFile(t, "/etc/hosts"), "main.myws.me.coder")
}

func TestBusThatDoesNotGreet(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	r := resolved{bus: &bus{address: "unix:path=" + socket, timeout: 100 * time.Millisecond}}
	if err := r.ping(t.Context(), true); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	if err := r.bus.close(); err != nil {
		t.Error(err)
	}
}

func TestNoBus(t *testing.T) {
	r := resolved{bus: &bus{address: "unix:path=" + filepath.Join(t.TempDir(), "s"), timeout: time.Second}}
	if err := r.ping(t.Context(), true); !errors.Is(err, errAbsent) {
		t.Errorf("%v", err)
	}
}

// TestResolvedOfTheHost: the bus of the host is a file, and reaches into every
// network namespace; an index of ours would be another's there.
func TestResolvedOfTheHost(t *testing.T) {
	needNest(t)
	stubFiles(t)
	bus := startBus(t)
	child := exec.Command("/proc/self/exe")
	child.Env = append(os.Environ(), nestVar+`={"Own":true,"Bus":"`+bus+`"}`)
	child.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = child.Process.Kill(); _ = child.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "owned\n" {
		t.Fatal(line, err)
	}
	o, log := newTestOS(t, t.TempDir(), bus)
	openTUN(t, "cwres4")
	if err := o.Apply(t.Context(), testConfig("cwres4")); err != nil {
		t.Fatal(err)
	}
	same(t, o.DNSMode(), ModeHosts)
	mustContain(t, log.String(), "resolved=in-another-network-namespace")
	if err := o.resolved.revert(t.Context(), 1); !errors.Is(err, errElsewhere) {
		t.Error(err)
	}
}

func TestInOtherNetwork(t *testing.T) {
	proc := t.TempDir()
	add := func(process, network string) {
		if err := os.MkdirAll(filepath.Join(proc, process, "ns"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("net:["+network+"]", filepath.Join(proc, process, "ns/net")); err != nil {
			t.Fatal(err)
		}
	}
	if inOtherNetwork(proc, 5) {
		t.Error("knows without /proc")
	}
	add("self", "1")
	add("5", "1")
	add("6", "2")
	for pid, other := range map[uint32]bool{5: false, 6: true, 7: false} {
		if inOtherNetwork(proc, pid) != other {
			t.Errorf("process %d, others hidden", pid)
		}
	}
	add("1", "2")
	if !inOtherNetwork(proc, 7) {
		t.Error("process 7 is in another process namespace")
	}
}

// TestNoTimeIsNoAbsence: a repair that is called off must not take a resolved
// that it could not ask for one that is not there.
func TestNoTimeIsNoAbsence(t *testing.T) {
	needNest(t)
	stubFiles(t)
	bus := startBus(t)
	newFake().start(t, bus)
	o, _ := newTestOS(t, t.TempDir(), bus)
	openTUN(t, "cwres5")
	if err := o.Apply(t.Context(), testConfig("cwres5")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := o.again(ctx, true); !errors.Is(err, context.Canceled) {
		t.Errorf("a repair without time: %v", err)
	}
	same(t, o.DNSMode(), ModeResolved)
}
