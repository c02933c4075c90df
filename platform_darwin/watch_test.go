package platform

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causewayhq/causeway/netcfg"
	netwatch "github.com/causewayhq/causeway/netcfg/watch"
)

// routeMessage is a change of the routing table as the kernel tells of it.
func routeMessage(kind byte, dst string, index, sender int, flags uint32) []byte {
	m := encodeRoute(kind, netip.MustParsePrefix(dst), index, "", sender, 1)
	m = m[:len(m)-routePadding]
	host.PutUint16(m, uint16(len(m)))
	host.PutUint16(m[4:], uint16(index))
	host.PutUint32(m[8:], flags)
	return m
}

func TestSortMessages(t *testing.T) {
	const own, pid, rtmMiss, rtmNewMaddr = 15, 4242, 0x7, 0xf
	miss := routeMessage(rtmAdd, "192.0.2.1/32", 6, 0, rtfUp)
	miss[3] = rtmMiss
	group := addressMessage(rtmNewAddr, 6, "en0")
	group[3] = rtmNewMaddr
	foreign, ours := []netwatch.Notice{netwatch.Foreign}, []netwatch.Notice{netwatch.Own}
	tests := []struct {
		name     string
		messages []byte
		want     []netwatch.Notice
	}{
		{"default route", routeMessage(rtmAdd, "0.0.0.0/0", 6, 0, rtfUp|rtfGateway), foreign},
		{"default route gone", routeMessage(rtmDelete, "::/0", 6, 0, rtfUp|rtfGateway), foreign},
		{"another VPN's route", routeMessage(rtmAdd, "10.0.0.0/8", 21, 99, rtfUp), foreign},
		{"our route, by somebody else", routeMessage(rtmDelete, "fd60:627a:a42b::/48", own, 99, rtfUp), ours},
		{"our own request", routeMessage(rtmAdd, "fd60:627a:a42b::/48", own, pid, rtfUp), nil},
		{"address on the card", addressMessage(rtmNewAddr, 6, "en0"), foreign},
		{"address taken from us", addressMessage(rtmDelAddr, own, "utun4"), ours},
		{"card up", linkMessage(6, "en0"), foreign},
		{"a packet without a route", miss, nil},
		{"multicast group", group, nil},
		{"link-local route", routeMessage(rtmAdd, "fe80::/64", 6, 0, rtfUp), nil},
		{"multicast route", routeMessage(rtmAdd, "ff02::/16", 6, 0, rtfUp), nil},
		{"neighbour", routeMessage(rtmAdd, "192.168.1.9/32", 6, 0, rtfUp|rtfHost|rtfLLInfo), nil},
		{"clone", routeMessage(rtmAdd, "192.0.2.9/32", 6, 0, rtfUp|rtfHost|rtfWasCloned), nil},
		{"AirDrop's link", linkMessage(9, "awdl0"), nil},
		{"AirDrop's route", routeMessage(rtmAdd, "10.0.0.0/8", 9, 0, rtfUp), nil},
		{"low latency link", addressMessage(rtmNewAddr, 10, "llw0"), nil},
		{"the system's tunnels", slices.Concat(linkMessage(11, "ipsec0"), linkMessage(12, "gif0"), linkMessage(13, "stf0")), nil},
		{"both, each once", slices.Concat(linkMessage(6, "en0"), linkMessage(own, "utun4"), linkMessage(6, "en0")), []netwatch.Notice{netwatch.Foreign, netwatch.Own}},
		{"damaged", linkMessage(6, "en0")[:40], nil},
	}
	for _, test := range tests {
		nameOf := func(index int) string { return map[int]string{6: "en0", 9: "awdl0", 21: "utun7"}[index] }
		if got := sortMessages(decode(test.messages), own, pid, nameOf); !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

// watching runs Watch in a bubble on a Mac on which the test configuration is
// applied, and gives the script a way to wait for quiet.
func watching(t *testing.T, script func(mac *fakeMac, o *OS, events func() string)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		mac := newFakeMac()
		o := newTestOS(t, mac, t.TempDir())
		apply(t, o, testConfig())
		mac.transcript()
		var mu sync.Mutex
		var seen []string
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		start := time.Now()
		go func() {
			done <- o.Watch(ctx, func(e netcfg.Event) {
				mu.Lock()
				defer mu.Unlock()
				seen = append(seen, fmt.Sprintf("%v:%d", time.Since(start).Round(time.Millisecond), e))
			})
		}()
		synctest.Wait()
		script(mac, o, func() string {
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			text := strings.Join(seen, " ")
			seen = nil
			return text
		})
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("watch: %v", err)
		}
	})
}

func (f *fakeMac) send(messages ...[]byte) {
	f.mu.Lock()
	s := f.streams[len(f.streams)-1]
	f.mu.Unlock()
	for _, m := range messages {
		s.messages <- m
	}
}

func (f *fakeMac) change(what func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	what()
}

func TestWatchRepairs(t *testing.T) {
	watching(t, func(mac *fakeMac, o *OS, events func() string) {
		mac.change(func() { mac.table = mac.table[:3]; mac.links[3].addresses = nil })
		mac.send(routeMessage(rtmDelete, "fd60:627a:a42b::/48", 15, 99, rtfUp))
		time.Sleep(time.Second)
		same(t, "repair", mac.transcript(), "ifconfig utun4 inet6 fd60:627a:a42b:1::1/128 alias\nroute add fd60:627a:a42b::/48 15")
		path := filepath.Join(o.resolvers.path, "coder")
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute) // nothing tells of files: the audit finds it
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
		same(t, "events", events(), "")
	})
}

func TestWatchTellsOfTheNetwork(t *testing.T) {
	watching(t, func(mac *fakeMac, _ *OS, events func() string) {
		noise := routeMessage(rtmAdd, "10.0.0.0/8", 6, 0, rtfUp)
		for range 100 {
			mac.send(noise)
		}
		time.Sleep(3 * time.Second)
		same(t, "noise", events(), "")
		mac.change(func() { mac.links[1].addresses = []netip.Prefix{netip.MustParsePrefix("172.20.0.9/16")} })
		mac.send(addressMessage(rtmNewAddr, 6, "en0"), addressMessage(rtmDelAddr, 6, "en0"))
		time.Sleep(3 * time.Second)
		same(t, "another network", events(), "4s:1")
		mac.change(func() { mac.table[0].flags |= rtfIfScope })
		mac.send(nil) // messages were lost
		time.Sleep(3 * time.Second)
		same(t, "lost messages", events(), "7s:1")
	})
}

// TestWatchListensAgain: a stream that fails is opened anew, later and later,
// and what was missed is looked for.
func TestWatchListensAgain(t *testing.T) {
	watching(t, func(mac *fakeMac, _ *OS, events func() string) {
		mac.change(func() {
			mac.broken["listen"] = syscall.ENOBUFS
			mac.links[1].addresses = nil
			close(mac.streams[0].messages)
		})
		time.Sleep(10 * time.Second) // tried after 1, 3 and 7 s
		mac.change(func() { delete(mac.broken, "listen") })
		time.Sleep(11 * time.Second) // and after 15 s
		same(t, "missed", events(), "16s:1")
		mac.change(func() { mac.slept = time.Hour })
		time.Sleep(10 * time.Second)
		same(t, "wake", events(), "25s:2")
		same(t, "flushed after the wake", mac.transcript(), "dscacheutil -flushcache\nkillall -HUP mDNSResponder")
	})
}

// TestWatchListensSlowly to streams that end as soon as they are opened.
func TestWatchListensSlowly(t *testing.T) {
	watching(t, func(mac *fakeMac, _ *OS, _ func() string) {
		mac.change(func() {
			mac.broken["read"] = syscall.ENXIO
			close(mac.streams[0].messages)
		})
		time.Sleep(10 * time.Minute)
		mac.change(func() {
			if n := len(mac.streams) - 1; n < 20 || n > 30 {
				t.Errorf("opened %d times in 10 minutes", n)
			}
		})
	})
}

func TestLookup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mac := newFakeMac()
		o := newTestOS(t, mac, t.TempDir())
		mac.answer = func(_ context.Context, name string) ([]netip.Addr, error) {
			if name == "main.coder" {
				return []netip.Addr{ourServer, netip.MustParseAddr("::ffff:192.0.2.1")}, nil
			}
			return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
		}
		list, err := o.Lookup(t.Context(), "main.coder")
		if err != nil || len(list) != 2 || list[1] != netip.MustParseAddr("192.0.2.1") {
			t.Errorf("%v %v", list, err)
		}
		var dns *net.DNSError
		if _, err := o.Lookup(t.Context(), "other.coder"); !errors.As(err, &dns) || !dns.IsNotFound {
			t.Error(err)
		}
		for _, bad := range []string{"", "-x", "a b", "a/b"} {
			if _, err := o.Lookup(t.Context(), bad); err == nil || errors.As(err, &dns) && dns.Name == bad {
				t.Errorf("%q: %v", bad, err)
			}
		}
		// A resolver that hangs whatever it is told: each caller is let go in
		// time, and no more than so many threads wait.
		release := make(chan struct{})
		var asked atomic.Int32
		mac.answer = func(context.Context, string) ([]netip.Addr, error) { asked.Add(1); <-release; return nil, nil }
		for i := range maxLookups + 3 {
			began := time.Now()
			_, err := o.Lookup(t.Context(), "hangs.coder")
			wait := lookupTimeout
			if i >= maxLookups {
				wait = 0
			}
			if !errors.As(err, &dns) || !dns.IsTimeout || time.Since(began) != wait {
				t.Errorf("lookup %d after %v: %v", i, time.Since(began), err)
			}
		}
		if n := asked.Load(); n != maxLookups {
			t.Errorf("%d lookups wait", n)
		}
		close(release)
		synctest.Wait()
		mac.answer = func(context.Context, string) ([]netip.Addr, error) { return []netip.Addr{ourServer}, nil }
		if _, err := o.Lookup(t.Context(), "back.coder"); err != nil {
			t.Error(err)
		}
	})
}

const scutilOutput = `DNS configuration

resolver #1
  search domain[0] : lan
  nameserver[0] : 192.168.1.1
  if_index : 6 (en0)
  flags    : Request A records
  reach    : 0x00020002 (Reachable,Directly Reachable Address)

resolver #2
  domain   : coder
  nameserver[0] : fd60:627a:a42b::53
  flags    : Request A records, Request AAAA records
  order    : 100000

resolver #3
  domain   : Me.Coder.
  nameserver[0] : 10.2.0.1
  nameserver[1] : 10.2.0.2
  if_index : 21 (utun7)
  order    : 101600

resolver #4
  domain   : decoder
  nameserver[0] : 10.2.0.3

resolver #5
  domain   : local
  options  : mdns
  order    : 300000

DNS configuration (for scoped queries)

resolver #1
  domain   : coder
  nameserver[0] : 192.0.2.99
  if_index : 6 (en0)
  flags    : Scoped, Request A records
`

func TestRivals(t *testing.T) {
	list := parseResolvers(scutilOutput)
	if len(list) != 5 || list[2].domain != "me.coder" || list[2].link != "utun7" || len(list[2].servers) != 2 {
		t.Errorf("read %+v", list)
	}
	got := strings.Join(rivals(list, []string{"coder"}, []netip.Addr{ourServer}), "\n")
	same(t, "rivals", got, "another program has me.coder ask 10.2.0.1, 10.2.0.2 by utun7 (see: scutil --dns); our answers may not be used")
	for _, text := range []string{"", "nameserver[0] : 1.1.1.1\n", "resolver #", "resolver #1\n domain : \n if_index : (\n"} {
		if got := rivals(parseResolvers(text), []string{"coder"}, nil); got != nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}
