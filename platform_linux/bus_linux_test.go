package platform

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/godbus/dbus/v5"
)

const busConfig = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>causeway-test</type>
  <listen>unix:path=%s</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
    <allow user="*"/>
  </policy>
</busconfig>
`

// startBus runs a dbus-daemon for the test and returns its address.
func startBus(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("dbus-daemon")
	if err != nil {
		t.Skip("needs dbus-daemon: apt-get install dbus")
	}
	// Not t.TempDir: its path can be too long for a socket.
	dir, err := os.MkdirTemp("", "cwbus")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	// The real resolved is another user.
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	socket, config := filepath.Join(dir, "bus"), filepath.Join(dir, "bus.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, busConfig, socket), 0o600); err != nil {
		t.Fatal(err)
	}
	daemon := exec.Command(path, "--config-file="+config, "--nofork", "--nopidfile", "--nosyslog", "--print-address=1")
	var listens, complaint output // it cannot raise its limits in some containers, and says so
	daemon.Stdout, daemon.Stderr = &listens, &complaint
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = daemon.Process.Kill(); _ = daemon.Wait() })
	t.Cleanup(func() {
		if t.Failed() {
			t.Log("dbus-daemon: ", complaint.String())
		}
	})
	// Its address comes once it listens; the socket's file is there before, and refuses.
	eventually(t, "the bus listens", func() bool { return strings.Contains(listens.String(), "\n") })
	return "unix:path=" + socket
}

// fakeResolved is a resolve1 service on a real bus. It keeps what it is told
// and writes down every call that changes something.
type fakeResolved struct {
	conn    *dbus.Conn
	missing map[string]bool          // methods it does not have
	fail    map[string]string        // methods that fail, with which error, once
	hang    map[string]chan struct{} // methods that do not answer

	mu      sync.Mutex
	calls   []string
	servers map[int32][]linkServer
	domains map[int32][]linkDomain
	// settings are by method; what was never set is as the host has it.
	settings map[int32]map[string]any
	// found is what names resolve to, and asked the flags of the questions.
	found map[string]netip.Addr
	asked []uint64
}

func newFake() *fakeResolved {
	return &fakeResolved{
		missing: map[string]bool{}, fail: map[string]string{}, hang: map[string]chan struct{}{},
		servers: map[int32][]linkServer{}, domains: map[int32][]linkDomain{},
		settings: map[int32]map[string]any{},
	}
}

// start takes the name on the bus, as a resolved that has just come up.
func (f *fakeResolved) start(t *testing.T, bus string) *fakeResolved {
	t.Helper()
	conn, err := dbus.Connect(bus)
	if err != nil {
		t.Fatal(err)
	}
	f.conn = conn
	t.Cleanup(func() { _ = conn.Close() })
	methods := map[string]any{
		"SetLinkDNS":          f.setLinkDNS,
		"SetLinkDomains":      f.setLinkDomains,
		"SetLinkDefaultRoute": func(i int32, v bool) *dbus.Error { return f.setting("SetLinkDefaultRoute", i, v) },
		"RevertLink":          f.revertLink,
		"FlushCaches":         func() *dbus.Error { return f.note("FlushCaches") },
		"GetLink":             f.getLink,
		"ResolveHostname":     f.resolveHostname,
	}
	for _, name := range []string{"SetLinkLLMNR", "SetLinkMulticastDNS", "SetLinkDNSSEC", "SetLinkDNSOverTLS"} {
		methods[name] = func(i int32, v string) *dbus.Error { return f.setting(name, i, v) }
	}
	for name := range f.missing {
		delete(methods, name)
	}
	if err := conn.ExportMethodTable(methods, resolvePath, resolveManager); err != nil {
		t.Fatal(err)
	}
	if reply, err := conn.RequestName(resolveName, dbus.NameFlagDoNotQueue); err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		t.Fatalf("own %s: %v %v", resolveName, reply, err)
	}
	return f
}

func (f *fakeResolved) stop() { _ = f.conn.Close() }

func (f *fakeResolved) note(method string, args ...any) *dbus.Error {
	f.mu.Lock()
	line := method
	for i, a := range args {
		if i == 0 {
			a = "LINK" // the index differs from run to run
		}
		line += fmt.Sprintf(" %v", a)
	}
	f.calls = append(f.calls, line)
	name, hang := f.fail[method], f.hang[method]
	delete(f.fail, method)
	f.mu.Unlock()
	if hang != nil {
		<-hang
	}
	if name != "" {
		return dbus.NewError(name, []any{"as the test wants it"})
	}
	return nil
}

func (f *fakeResolved) setting(method string, index int32, value any) *dbus.Error {
	if err := f.note(method, index, value); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.settings[index] == nil {
		f.settings[index] = map[string]any{}
	}
	f.settings[index][method] = value
	return nil
}

func (f *fakeResolved) setLinkDNS(index int32, servers []linkServer) *dbus.Error {
	var text []string
	for _, s := range servers {
		a, _ := netip.AddrFromSlice(s.Address)
		text = append(text, fmt.Sprintf("%d:%s", s.Family, a))
	}
	if err := f.note("SetLinkDNS", index, strings.Join(text, ",")); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.servers[index] = servers
	return nil
}

func (f *fakeResolved) setLinkDomains(index int32, domains []linkDomain) *dbus.Error {
	var text []string
	for _, d := range domains {
		text = append(text, fmt.Sprintf("%s:%v", d.Domain, d.RoutingOnly))
	}
	if err := f.note("SetLinkDomains", index, strings.Join(text, ",")); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.domains[index] = domains
	return nil
}

func (f *fakeResolved) revertLink(index int32) *dbus.Error {
	f.mu.Lock()
	delete(f.servers, index)
	delete(f.domains, index)
	delete(f.settings, index)
	f.mu.Unlock()
	return f.note("RevertLink", index)
}

// getLink makes an object of the link, whose properties can be asked for.
func (f *fakeResolved) getLink(index int32) (dbus.ObjectPath, *dbus.Error) {
	path := dbus.ObjectPath(fmt.Sprintf("%s/link/_3%d", resolvePath, index))
	get := func(string) (map[string]dbus.Variant, *dbus.Error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		properties := map[string]dbus.Variant{
			"DNS":     dbus.MakeVariant(append([]linkServer{}, f.servers[index]...)),
			"Domains": dbus.MakeVariant(append([]linkDomain{}, f.domains[index]...)),
		}
		for _, s := range linkSettings {
			if value, ok := f.settings[index][s.method]; ok && !f.missing[s.method] {
				properties[s.property] = dbus.MakeVariant(value)
			}
		}
		return properties, nil
	}
	if err := f.conn.ExportMethodTable(map[string]any{"GetAll": get}, path, "org.freedesktop.DBus.Properties"); err != nil {
		return "", dbus.MakeFailedError(err)
	}
	return path, nil
}

func (f *fakeResolved) resolveHostname(_ int32, name string, _ int32, flags uint64) ([]resolvedAddress, string, uint64, *dbus.Error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, flags)
	if f.missing["NoCache"] && flags != 0 {
		return nil, "", 0, dbus.NewError(errInvalidArgs, []any{"unknown flags"})
	}
	address, ok := f.found[name]
	if !ok {
		return nil, "", 0, dbus.NewError(resolveName+".DnsError.NXDOMAIN", []any{"not found"})
	}
	return []resolvedAddress{{Interface: 3, Family: 10, Address: address.AsSlice()}}, name, 0, nil
}

// lose drops what it was told, as "resolvectl revert" by a person does.
func (f *fakeResolved) lose(t *testing.T) {
	t.Helper()
	f.mu.Lock()
	clear(f.servers)
	clear(f.domains)
	clear(f.settings)
	f.mu.Unlock()
	f.announce(t)
}

// announce says that something of resolved's changed.
func (f *fakeResolved) announce(t *testing.T) {
	t.Helper()
	err := f.conn.Emit(resolvePath, "org.freedesktop.DBus.Properties.PropertiesChanged",
		resolveManager, map[string]dbus.Variant{}, []string{"DNS"})
	if err != nil {
		t.Fatal(err)
	}
}

// transcript returns the calls since the last transcript.
func (f *fakeResolved) transcript() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	text := strings.Join(f.calls, "\n")
	f.calls = nil
	return text
}

// configured tells that every link's worth of settings has arrived.
func (f *fakeResolved) configured() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.servers) == 1 && len(f.calls) > 0 && f.calls[len(f.calls)-1] == "FlushCaches"
}
