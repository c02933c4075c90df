package platform

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/causewayhq/causeway/netcfg"
	"github.com/causewayhq/causeway/tun"
)

const (
	testAddress = "fd60:627a:a42b:1::1/128"
	testPrefix  = "fd60:627a:a42b::/48"
)

// plainFiles makes a host of the plainest kind: no resolved anywhere.
func plainFiles(t *testing.T) {
	t.Helper()
	writeFile(t, "/etc/resolv.conf", "nameserver 192.0.2.1\n")
	writeFile(t, "/etc/nsswitch.conf", "hosts: files dns\n")
	writeFile(t, "/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n")
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	// The image may have a link to somewhere outside the private layer.
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// output collects a log; it is safe for concurrent use.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *output) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *output) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// newTestOS opens an OS on dir, with no bus unless one is given, and closes it
// at the end of the test.
func newTestOS(t *testing.T, dir, bus string) (*OS, *output) {
	t.Helper()
	if bus == "" {
		bus = "unix:path=" + filepath.Join(t.TempDir(), "no-bus")
	}
	text := new(output)
	o, err := New(Options{
		Logger: slog.New(slog.NewTextHandler(text, nil)), StateDir: dir, Bus: bus,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := o.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return o, text
}

func openTUN(t *testing.T, name string) tun.Device {
	t.Helper()
	device, err := tun.Open(name, 1280)
	if err != nil {
		t.Fatal(err)
	}
	// The library's listener blocks for good where nobody takes its events.
	var drain sync.WaitGroup
	drain.Go(func() {
		for range device.Events() {
		}
	})
	t.Cleanup(func() { _ = device.Close(); drain.Wait() })
	return device
}

// testAgent is what the one name of the test stands for.
var testAgent = netip.MustParseAddr("fd60:627a:a42b:1::2")

func testConfig(name string) netcfg.Config {
	return netcfg.Config{
		Interface: name, MTU: 1280,
		Addresses: []netip.Prefix{netip.MustParsePrefix(testAddress)},
		Routes:    []netip.Prefix{netip.MustParsePrefix(testPrefix)},
		DNS: netcfg.DNS{
			Nameservers: []netip.Addr{netip.MustParseAddr("fd60:627a:a42b::53")},
			Suffixes:    []string{"coder"},
			Hosts:       netcfg.ListHosts(netcfg.Host{Name: "main.myws.me.coder", Addr: testAgent}),
		},
	}
}

// snapshot is the state of the host as its tools and files tell it.
func snapshot(t *testing.T) string {
	t.Helper()
	var text strings.Builder
	for _, what := range []string{"-br link", "-br addr", "-4 route show table all", "-6 route show table all", "-4 rule", "-6 rule"} {
		text.WriteString("# " + what + "\n" + ip(t, strings.Fields(what)...))
	}
	for _, path := range []string{"/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf"} {
		info, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		text.WriteString("# " + path + " " + info.Mode().String() + "\n" + readFile(t, path))
	}
	return text.String()
}

func ip(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "ip", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// eventually polls a condition of the real world.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
