package platform

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/causewayhq/causeway/netcfg"
	netwatch "github.com/causewayhq/causeway/netcfg/watch"
)

// fakeMac behaves like the system as far as this package asks it, and writes
// down what it was told.
type fakeMac struct {
	mu      sync.Mutex
	links   []link
	table   []fakeRoute
	done    []string
	broken  map[string]error // by the program's path, "request", "links", "listen"
	scutil  string
	answer  func(ctx context.Context, name string) ([]netip.Addr, error)
	streams []*stream
	slept   time.Duration
}

type fakeRoute struct {
	dst   netip.Prefix
	index int
	flags uint32
}

func (f *fakeMac) Links() ([]link, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []link
	for _, l := range f.links {
		l.addresses = slices.Clone(l.addresses)
		list = append(list, l)
	}
	return list, f.broken["links"]
}

func (f *fakeMac) Routes() ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var dump []byte
	for _, r := range f.table {
		body := appendAddr(nil, r.dst.Addr())
		body = appendLink(body, r.index, "")
		// As the kernel does, without the zeros at the end of a mask.
		mask := appendAddr(nil, maskOf(r.dst))
		if r.flags&rtfHost == 0 {
			mask = bytes.TrimRight(mask, "\x00")
			mask[0] = byte(len(mask))
			if r.dst.Bits() == 0 {
				mask = []byte{0, 0}
			}
			body = append(body, mask...)
			body = append(body, make([]byte, roundUp(len(mask))-len(mask))...)
		}
		m := append(make([]byte, routeHeader), body...)
		host.PutUint16(m, uint16(len(m)))
		m[2], m[3] = rtmVersion, rtmGet
		host.PutUint16(m[4:], uint16(r.index))
		host.PutUint32(m[8:], r.flags)
		m[12] = 1<<rtaxDst | 1<<rtaxGateway
		if r.flags&rtfHost == 0 {
			m[12] |= 1 << rtaxNetmask
		}
		dump = append(dump, m...)
	}
	return dump, f.broken["routes"]
}

// Request answers as route(4) does: EEXIST, ESRCH.
func (f *fakeMac) Request(message []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := decode(message)
	if len(list) != 1 {
		return syscall.EINVAL
	}
	if err := f.broken["request"]; err != nil {
		return err
	}
	m := list[0]
	index := linkIndex(m.addrs[rtaxGateway])
	at := slices.IndexFunc(f.table, func(r fakeRoute) bool { return r.dst == m.dst && r.flags&rtfIfScope == 0 })
	switch {
	case m.kind == rtmAdd && at >= 0:
		return syscall.EEXIST
	case m.kind == rtmAdd:
		f.table = append(f.table, fakeRoute{m.dst, index, m.flags})
		f.done = append(f.done, fmt.Sprintf("route add %s %d", m.dst, index))
	case m.kind == rtmDelete && (at < 0 || f.table[at].index != index):
		return syscall.ESRCH
	case m.kind == rtmDelete:
		f.table = slices.Delete(f.table, at, at+1)
		f.done = append(f.done, fmt.Sprintf("route delete %s %d", m.dst, index))
	}
	return nil
}

// stream is what Listen gives; what is sent into it is read one by one.
type stream struct {
	messages chan []byte
	closed   chan struct{}
	once     sync.Once
}

func (s *stream) Read(b []byte) (int, error) {
	select {
	case m, ok := <-s.messages:
		if !ok {
			return 0, io.ErrUnexpectedEOF
		}
		if m == nil {
			return 0, errLost
		}
		return copy(b, m), nil
	case <-s.closed:
		return 0, io.ErrClosedPipe
	}
}

func (s *stream) Close() error { s.once.Do(func() { close(s.closed) }); return nil }

func (f *fakeMac) Listen() (io.ReadCloser, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.broken["listen"]; err != nil {
		return nil, err
	}
	s := &stream{messages: make(chan []byte), closed: make(chan struct{})}
	f.streams = append(f.streams, s)
	if f.broken["read"] != nil {
		close(s.messages)
	}
	return s, nil
}

// Run understands what ifconfig(8) is told.
func (f *fakeMac) Run(_ context.Context, path string, args ...string) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.broken[path]; err != nil {
		return "", fmt.Errorf("run %s: %w", path, err)
	}
	if path == scutilPath {
		return f.scutil, nil
	}
	f.done = append(f.done, strings.Join(append([]string{filepath.Base(path)}, args...), " "))
	if path != ifconfigPath {
		return "", nil
	}
	at := slices.IndexFunc(f.links, func(l link) bool { return l.name == args[0] })
	if at < 0 {
		return "", errors.New("interface does not exist")
	}
	l := &f.links[at]
	switch {
	case args[1] == "up":
		l.up = true
	case args[1] == "mtu":
		_, err := fmt.Sscan(args[2], &l.mtu)
		return "", err
	case args[len(args)-1] == "alias":
		l.addresses = append(l.addresses, netip.MustParsePrefix(args[2]))
	case args[len(args)-1] == "-alias":
		gone := netip.MustParseAddr(args[2])
		l.addresses = slices.DeleteFunc(l.addresses, func(p netip.Prefix) bool { return p.Addr() == gone })
	}
	return "", nil
}

func (f *fakeMac) Resolve(ctx context.Context, name string) ([]netip.Addr, error) {
	return f.answer(ctx, name)
}

var boot = time.Now()

func (f *fakeMac) Clocks() netwatch.Reading {
	f.mu.Lock()
	defer f.mu.Unlock()
	mono := time.Since(boot)
	return netwatch.Reading{Mono: mono, Boot: mono + f.slept, Wall: boot.Add(mono + f.slept)}
}

// transcript is what was done since the last call.
func (f *fakeMac) transcript() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	text := strings.Join(f.done, "\n")
	f.done = nil
	return text
}

// state is all that can be told of the system, for comparison.
func (f *fakeMac) state() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return fmt.Sprintf("%+v\n%+v", f.links, f.table)
}

// newFakeMac has a network card, a loopback interface, AirDrop's, and the utun
// that was opened for us.
func newFakeMac() *fakeMac {
	return &fakeMac{
		broken: map[string]error{},
		links: []link{
			{index: 1, name: "lo0", up: true, loopback: true, mtu: 16384},
			{index: 6, name: "en0", up: true, mtu: 1500, addresses: []netip.Prefix{netip.MustParsePrefix("192.168.1.7/24")}},
			{index: 9, name: "awdl0", up: true, mtu: 1500},
			{index: 15, name: "utun4", mtu: 1500, addresses: []netip.Prefix{netip.MustParsePrefix("fe80::1/64")}},
		},
		table: []fakeRoute{
			{netip.MustParsePrefix("0.0.0.0/0"), 6, rtfUp | rtfGateway},
			{netip.MustParsePrefix("192.168.1.0/24"), 6, rtfUp},
			{netip.MustParsePrefix("192.168.1.9/32"), 6, rtfUp | rtfHost | rtfLLInfo},
		},
	}
}

// newTestOS is a process on a fake Mac.
func newTestOS(t *testing.T, mac *fakeMac, dir string) *OS {
	t.Helper()
	o, err := newOS(Options{Logger: slog.New(slog.DiscardHandler), StateDir: dir, ResolverDir: filepath.Join(dir, "resolver")}, mac, "this boot")
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func testConfig() netcfg.Config {
	return netcfg.Config{
		Interface: "utun4", MTU: 1280,
		Addresses: []netip.Prefix{netip.MustParsePrefix("fd60:627a:a42b:1::1/128")},
		Routes:    []netip.Prefix{netip.MustParsePrefix("fd60:627a:a42b::/48")},
		DNS:       netcfg.DNS{Nameservers: []netip.Addr{ourServer}, Suffixes: []string{"coder"}},
	}
}
