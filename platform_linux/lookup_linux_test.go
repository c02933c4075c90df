package platform

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
)

// lookupBench is a host with a resolved of the test, whose libc reads the hosts
// file only: the two can be made to differ.
func lookupBench(t *testing.T) (*OS, *fakeResolved) {
	t.Helper()
	needNest(t)
	stubFiles(t)
	bus := startBus(t)
	fake := newFake()
	fake.found = map[string]netip.Addr{"a.coder": testAgent, "b.coder": testAgent, "wrong.coder": netip.MustParseAddr("fd00::bad")}
	fake.start(t, bus)
	writeFile(t, "/etc/nsswitch.conf", "hosts: files\n")
	writeFile(t, "/etc/hosts", testAgent.String()+" a.coder wrong.coder c.coder\n")
	o, _ := newTestOS(t, t.TempDir(), bus)
	openTUN(t, "cwlook0")
	if err := o.Apply(t.Context(), testConfig("cwlook0")); err != nil {
		t.Fatal(err)
	}
	same(t, o.DNSMode(), ModeResolved)
	return o, fake
}

func TestLookupBothWays(t *testing.T) {
	o, fake := lookupBench(t)
	for name, complaints := range map[string][]string{
		"a.coder":     nil,
		"b.coder":     {"ask libc: ", "no such host"},
		"c.coder":     {"ask systemd-resolved without its cache: ", "no such host"},
		"wrong.coder": {"libc answers [" + testAgent.String() + "], systemd-resolved [fd00::bad]"},
		"none.coder":  {"ask libc: ", "ask systemd-resolved"},
	} {
		found, err := o.Lookup(t.Context(), name)
		if complaints == nil {
			if err != nil || !slices.Equal(found, []netip.Addr{testAgent}) {
				t.Errorf("%s: %v %v", name, found, err)
			}
			continue
		}
		if err == nil || found != nil {
			t.Errorf("%s: %v %v", name, found, err)
			continue
		}
		for _, complaint := range complaints {
			mustContain(t, err.Error(), complaint)
		}
	}
	if notFound := new(net.DNSError); func() bool { _, err := o.Lookup(t.Context(), "none.coder"); return !errors.As(err, &notFound) }() || !notFound.IsNotFound {
		t.Error("a name that is not there is not told from a resolver that is not there")
	}
	fake.mu.Lock()
	defer fake.mu.Unlock()
	if slices.ContainsFunc(fake.asked, func(flags uint64) bool { return flags != 1<<12 }) {
		t.Errorf("asked with flags %v", fake.asked)
	}
}

// TestLookupOldResolved: a version that does not know the flag is asked without.
func TestLookupOldResolved(t *testing.T) {
	o, fake := lookupBench(t)
	fake.mu.Lock()
	fake.missing["NoCache"] = true
	fake.mu.Unlock()
	if found, err := o.Lookup(t.Context(), "a.coder"); err != nil || !slices.Equal(found, []netip.Addr{testAgent}) {
		t.Errorf("%v %v", found, err)
	}
}

// TestLookupNamesWhatBypasses: libc is led elsewhere while resolved is well.
func TestLookupNamesWhatBypasses(t *testing.T) {
	o, _ := lookupBench(t)
	writeFile(t, "/etc/resolv.conf", "# Made by hand\nnameserver 10.0.0.1\n")
	_, err := o.Lookup(t.Context(), "b.coder")
	if err == nil {
		t.Fatal("no error")
	}
	mustContain(t, err.Error(), "resolv.conf leads to 10.0.0.1, past systemd-resolved, as of a program that writes \"Made by hand\"")
	mustLack(t, err.Error(), "ask systemd-resolved")
}

func TestLookupDeadline(t *testing.T) {
	o, fake := lookupBench(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := o.Lookup(ctx, "a.coder"); err == nil {
		t.Error("no error")
	}
	fake.stop()
	_, err := o.Lookup(t.Context(), "a.coder")
	if !errors.Is(err, errAbsent) {
		t.Error(err)
	}
}
