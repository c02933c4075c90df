package platform

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"

	"github.com/causewayhq/causeway/netcfg"
	"github.com/causewayhq/causeway/nrpt"
)

// testKeys makes the keys of an adapter that Windows would make, with a GUID that
// nobody has, and takes them away again.
func testKeys(t *testing.T) (guid string) {
	t.Helper()
	id, err := windows.GenerateGUID()
	if err != nil {
		t.Fatal(err)
	}
	guid = strings.ToLower(id.String())
	for _, path := range []string{interfaceKey(guid, ipv4), interfaceKey(guid, ipv6), netbtInterfaces + guid} {
		key, _, err := registry.CreateKey(registry.LOCAL_MACHINE, path, registry.ALL_ACCESS)
		if err != nil {
			t.Skipf("needs the rights of an administrator: create key %s: %v", path, err)
		}
		key.Close()
		t.Cleanup(func() {
			if err := registry.DeleteKey(registry.LOCAL_MACHINE, path); err != nil {
				t.Errorf("delete key %s: %v", path, err)
			}
		})
	}
	return guid
}

func TestRegistryValues(t *testing.T) {
	guid := testKeys(t)
	key := interfaceKey(guid, ipv4)
	w := winSystem{}
	if _, err := w.Value(key, "None"); !errors.Is(err, errMissing) {
		t.Errorf("no value: %v", err)
	}
	if _, err := w.Value(key+`\none`, "None"); !errors.Is(err, errMissing) {
		t.Errorf("no key: %v", err)
	}
	if err := w.SetValue(value{Key: key + `\none`, Name: "X", Data: "1"}); !errors.Is(err, errMissing) {
		t.Errorf("a key was made, or %v", err)
	}
	for _, v := range []value{{Key: key, Name: "Number", Data: "4294967295"}, {Key: key, Name: "Text", Text: true, Data: "a,b"}, {Key: key, Name: "Empty", Text: true}} {
		if err := w.SetValue(v); err != nil {
			t.Error(err)
		}
		if got, err := w.Value(key, v.Name); err != nil || got != v {
			t.Errorf("got %+v, %v; want %+v", got, err, v)
		}
		for range 2 {
			if err := w.DeleteValue(key, v.Name); err != nil {
				t.Errorf("delete: %v", err)
			}
		}
		if _, err := w.Value(key, v.Name); !errors.Is(err, errMissing) {
			t.Errorf("after the deletion: %v", err)
		}
	}
	k, err := registry.OpenKey(registry.LOCAL_MACHINE, key, registry.SET_VALUE)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	if err := k.SetBinaryValue("Other", []byte{1}); err != nil {
		t.Fatal(err)
	}
	if got, err := w.Value(key, "Other"); err != nil || got == (value{Key: key, Name: "Other", Data: "1"}) {
		t.Errorf("a value of another kind: %+v, %v", got, err)
	}
}

// halfWindows has the real registry, and the network of a text.
type halfWindows struct {
	*fakeHost
	winSystem
}

func (h halfWindows) Snapshot() (snapshot, error)                { return h.fakeHost.Snapshot() }
func (h halfWindows) Family(id luid, f family) (settings, error) { return h.fakeHost.Family(id, f) }
func (h halfWindows) SetFamily(id luid, f family, s settings) error {
	return h.fakeHost.SetFamily(id, f, s)
}
func (h halfWindows) AddAddress(id luid, p netip.Prefix) error { return h.fakeHost.AddAddress(id, p) }
func (h halfWindows) RemoveAddress(id luid, p netip.Prefix) error {
	return h.fakeHost.RemoveAddress(id, p)
}
func (h halfWindows) AddRoute(id luid, p netip.Prefix) error { return h.fakeHost.AddRoute(id, p) }
func (h halfWindows) RemoveRoute(id luid, r route) error     { return h.fakeHost.RemoveRoute(id, r) }
func (h halfWindows) ClearServers(guid string, f family) error {
	return h.winSystem.ClearServers(guid, f)
}
func (h halfWindows) Value(key, name string) (value, error) { return h.winSystem.Value(key, name) }
func (h halfWindows) SetValue(v value) error                { return h.winSystem.SetValue(v) }
func (h halfWindows) DeleteValue(key, name string) error    { return h.winSystem.DeleteValue(key, name) }
func (h halfWindows) Client() (client, error)               { return clientRunning, nil }

// TestRegistryAndRules applies and cleans up with everything real but the
// adapter: the keys of the interface, the rules, the journal, the hosts file.
func TestRegistryAndRules(t *testing.T) {
	guid, dir := testKeys(t), t.TempDir()
	root := `Software\causeway-test-` + rand.Text()
	t.Cleanup(func() { deleteTree(t, root) })
	host := parseHost(strings.ReplaceAll(plainHost, "OURS", guid))
	file := filepath.Join(dir, "hosts")
	if err := os.WriteFile(file, []byte(foreignHosts), 0o600); err != nil {
		t.Fatal(err)
	}
	store := nrpt.OpenRegistry(registry.CURRENT_USER, root)
	open := func() *OS {
		o, err := assemble(parts{
			logger: slog.New(slog.DiscardHandler), stateDir: dir, system: halfWindows{fakeHost: host}, file: file, guid: guid,
			rules: func(journal *netcfg.Journal) rules {
				return nrpt.New(nrpt.Options{Store: store, System: store, Journal: journal, Logger: slog.New(slog.DiscardHandler)})
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { o.Close() })
		return o
	}
	if err := (winSystem{}).SetValue(value{Key: interfaceKey(guid, ipv6), Name: "NameServer", Text: true, Data: "10.2.0.1"}); err != nil {
		t.Fatal(err)
	}
	apply(t, open(), wanted())
	for _, want := range append(adapterValues(guid, ipv4), adapterValues(guid, ipv6)...) {
		if got, err := (winSystem{}).Value(want.Key, want.Name); err != nil || got != want {
			t.Errorf("%s: %+v, %v", want.Name, got, err)
		}
	}
	// Where SetInterfaceDnsSettings is missing the registry is written.
	if got, err := (winSystem{}).Value(interfaceKey(guid, ipv6), "NameServer"); err != nil || got.Data != "" {
		t.Errorf("the interface keeps its name servers: %+v, %v", got, err)
	}
	if list, _, err := store.List(nrpt.Local); err != nil || len(list) != 1 {
		t.Errorf("rules %v, %v", list, err)
	}
	next := open()
	for range 2 {
		if err := next.Cleanup(t.Context()); err != nil {
			t.Error(err)
		}
	}
	for _, set := range append(adapterValues(guid, ipv4), adapterValues(guid, ipv6)...) {
		if got, err := (winSystem{}).Value(set.Key, set.Name); !errors.Is(err, errMissing) {
			t.Errorf("left: %+v, %v", got, err)
		}
	}
	if list, _, err := store.List(nrpt.Local); err != nil || len(list) != 0 {
		t.Errorf("rules left: %v, %v", list, err)
	}
	journalOf(t, next)
}

func deleteTree(t *testing.T, path string) {
	t.Helper()
	key, err := registry.OpenKey(registry.CURRENT_USER, path, registry.ALL_ACCESS)
	if err != nil {
		return
	}
	names, err := key.ReadSubKeyNames(-1)
	key.Close()
	if err != nil {
		t.Error(err)
	}
	for _, name := range names {
		deleteTree(t, path+`\`+name)
	}
	if err := registry.DeleteKey(registry.CURRENT_USER, path); err != nil {
		t.Errorf("delete key %s: %v", path, err)
	}
}

// TestSnapshot reads the real tables; what is in them is the machine's.
func TestSnapshot(t *testing.T) {
	now, err := winSystem{}.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range now.Links {
		if l.Name == "" || l.LUID == 0 || len(l.GUID) != 38 || strings.ToLower(l.GUID) != l.GUID {
			t.Errorf("link %+v", l)
		}
	}
	for _, a := range now.Addresses {
		if !a.Prefix.IsValid() || a.Prefix.Addr().Zone() != "" {
			t.Errorf("address %+v", a)
		}
	}
	t.Logf("%d links, %d addresses, %d routes", len(now.Links), len(now.Addresses), len(now.Routes))
	if windows.NewLazySystemDLL("iphlpapi.dll").NewProc("InitializeIpInterfaceEntry").Find() != nil {
		return // Wine reads tables, and knows no settings of interfaces
	}
	if _, err := (winSystem{}).Family(luid(0xdead<<48), ipv6); !errors.Is(err, errMissing) {
		t.Errorf("a family of no interface: %v", err)
	}
}

func TestClocks(t *testing.T) {
	first := readClocks()
	second := readClocks()
	if second.Mono < first.Mono || second.Boot < first.Boot || first.Boot <= 0 || first.Mono <= 0 || first.Wall.IsZero() {
		t.Errorf("clocks %+v, then %+v", first, second)
	}
	if d := (second.Boot - first.Boot) - (second.Mono - first.Mono); d > time.Second || d < -time.Second {
		t.Errorf("a sleep of %v in between", d)
	}
}

// TestLookupDeadline: whatever resolver there is or is not, the caller's time counts.
func TestLookupDeadline(t *testing.T) {
	o := &OS{pending: make(chan struct{}, maxLookups), mode: ModeNRPT}
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	start := time.Now()
	list, err := o.Lookup(ctx, "causeway-test.invalid")
	failed := new(net.DNSError)
	if err == nil || errors.As(err, &failed) && !failed.IsTimeout && !failed.IsNotFound {
		t.Errorf("got %v, %v", list, err)
	}
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("took %v", took)
	}
	o.pending <- struct{}{} // the goroutine of the call has its own end
	for range maxLookups - 1 {
		o.pending <- struct{}{}
	}
}

// TestWatchRuns: the notifications can be had, a wake is told, and all ends.
func TestWatchRuns(t *testing.T) {
	host := parseHost(plainHost)
	o := host.open(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events, ended := make(chan netcfg.Event, 16), make(chan error, 1)
	go func() { ended <- o.Watch(ctx, func(e netcfg.Event) { events <- e }) }()
	o.Observe(Suspending)
	o.Observe(Resumed)
	select {
	case e := <-events:
		if e != netcfg.Woke {
			t.Errorf("event %d", e)
		}
	case err := <-ended:
		t.Fatalf("Watch() = %v", err)
	case <-time.After(10 * time.Second):
		t.Error("no wake")
	}
	cancel()
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Watch() = %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("Watch does not end")
	}
}
