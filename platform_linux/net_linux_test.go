package platform

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/causewayhq/causeway/netcfg"
)

// netNames are so many names, and the sentinel.
func netNames(count int) *netcfg.Hosts {
	list := []netcfg.Host{{Name: "is.here.coder", Addr: testConfig("").DNS.Nameservers[0]}}
	for number := range count {
		list = append(list, netcfg.Host{Name: fmt.Sprintf("main.ws%d.me.coder", number), Addr: testAgent})
	}
	return netcfg.ListHosts(list...)
}

// TestNet: where resolved has our names the hosts file has them too, but not
// the sentinel; above the limit it has none; it goes with all the rest.
func TestNet(t *testing.T) {
	needNest(t)
	stubFiles(t)
	bus := startBus(t)
	newFake().start(t, bus)
	o, log := newTestOS(t, t.TempDir(), bus)
	openTUN(t, "cwnet0")
	before := snapshot(t)
	want := testConfig("cwnet0")
	apply := func(names *netcfg.Hosts) {
		t.Helper()
		want.DNS.Hosts = names
		if err := o.Apply(t.Context(), want); err != nil {
			t.Fatal(err)
		}
		same(t, o.DNSMode(), ModeResolved)
	}
	written := func(count int) func() bool {
		return func() bool {
			content := readFile(t, "/etc/hosts")
			return !o.hosts.Status().Pending && strings.Count(content, "me.coder") == count && !strings.Contains(content, "is.here.coder")
		}
	}
	apply(netNames(netLimit))
	eventually(t, "all names of the limit stand", written(netLimit))
	apply(netNames(netLimit + 1))
	eventually(t, "none of too many stands", written(0))
	apply(netNames(netLimit + 2))
	same(t, fmt.Sprint(strings.Count(log.String(), "do not stand in the hosts file")), "1")
	apply(netNames(2))
	eventually(t, "few stand again", written(2))
	// Nobody asks resolved any more: now the file is the way, sentinel and all.
	writeFile(t, "/etc/resolv.conf", "nameserver 192.0.2.1\n")
	if err := o.Apply(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	same(t, o.DNSMode(), ModeHosts)
	eventually(t, "the sentinel stands", func() bool { return strings.Contains(readFile(t, "/etc/hosts"), "is.here.coder") })
	writeFile(t, "/etc/resolv.conf", "nameserver 127.0.0.53\n")
	if err := o.Apply(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the sentinel is out again", written(2))
	if err := o.Apply(t.Context(), netcfg.Config{}); err != nil {
		t.Fatal(err)
	}
	same(t, snapshot(t), before)
}

// TestNetCannotBeWritten: that is no trouble, in no part of what the adapter
// says, and nothing is left to undo.
func TestNetCannotBeWritten(t *testing.T) {
	needNest(t)
	stubFiles(t)
	bus := startBus(t)
	newFake().start(t, bus)
	o, _ := newTestOS(t, t.TempDir(), bus)
	openTUN(t, "cwnet1")
	if err := os.Remove("/etc/hosts"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir("/etc/hosts", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := o.Apply(t.Context(), testConfig("cwnet1")); err != nil {
		t.Fatal(err)
	}
	same(t, o.DNSMode(), ModeResolved)
	eventually(t, "it is tried", func() bool { return o.hosts.Status().Pending })
	if err := o.Trouble(); err != nil {
		t.Error(err)
	}
	if err := os.Remove("/etc/hosts"); err != nil {
		t.Fatal(err)
	}
	if err := o.Cleanup(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestAddressComesBack: resolved is told to give up what it sent meanwhile, and
// only then.
func TestAddressComesBack(t *testing.T) {
	needNest(t)
	stubFiles(t)
	bus := startBus(t)
	fake := newFake().start(t, bus)
	o, _ := newTestOS(t, t.TempDir(), bus)
	openTUN(t, "cwnet2")
	apply := func() string {
		t.Helper()
		if err := o.Apply(t.Context(), testConfig("cwnet2")); err != nil {
			t.Fatal(err)
		}
		return fake.transcript()
	}
	same(t, apply(), goldenSet)
	for _, away := range []string{"addr flush dev cwnet2 scope global", "route del " + testPrefix + " dev cwnet2"} {
		ip(t, append([]string{"-6"}, strings.Fields(away)...)...)
		same(t, apply(), "SetLinkDNS LINK \nSetLinkDNS LINK 10:fd60:627a:a42b::53\nFlushCaches")
		same(t, apply(), "")
	}
}
