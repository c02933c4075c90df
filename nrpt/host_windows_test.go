package nrpt

import (
	"errors"
	"io/fs"
	"os"
	"testing"

	"golang.org/x/sys/windows/registry"
)

// scenarios of the property test: each is some thousand calls of the registry.
const scenarios = 8

// ownKey is for tests on a computer that somebody uses.
const ownKey = `Software\Causeway test of nrpt`

type realHost struct {
	*Registry
	t testing.TB
}

// newHost gives the real keys under Wine, where nobody minds, and a key of the
// test's own elsewhere. Both start and end without a table.
func newHost(t testing.TB) host {
	h := realHost{OpenRegistry(registry.CURRENT_USER, ownKey), t}
	if os.Getenv("CAUSEWAY_WINE") == "1" {
		h.Registry = OpenRegistry(registry.LOCAL_MACHINE, "")
	}
	h.wipe()
	t.Cleanup(h.wipe)
	return h
}

func (h realHost) wipe() {
	must(h.t, h.Sweep())
	for _, place := range []Place{Local, Policy} {
		h.remove(place)
	}
}

func (h realHost) remove(place Place) {
	list, _, err := h.List(place)
	must(h.t, err)
	for _, id := range list {
		must(h.t, h.Delete(place, id))
	}
	must(h.t, h.delete(h.table(place)))
}

func (h realHost) setPolicy(exists bool) {
	h.remove(Policy)
	if !exists {
		return
	}
	key, _, err := registry.CreateKey(h.root, h.table(Policy), registry.READ)
	must(h.t, err)
	must(h.t, key.Close())
}

// TestRegistryBytes reads what was written by way of package registry, which
// decodes by itself.
func TestRegistryBytes(t *testing.T) {
	h := newHost(t).(realHost)
	must(t, rules(h, &listed{}, newSystem()).SetDNS(within(t), []string{"coder", "example"}, servers))
	key, err := registry.OpenKey(h.root, h.rule(Local, ruleID(0)), registry.QUERY_VALUE)
	must(t, err)
	defer key.Close()
	names, kind, err := key.GetStringsValue(valueName)
	if err != nil || kind != registry.MULTI_SZ || len(names) != 2 || names[0] != ".coder" || names[1] != ".example" {
		t.Errorf("names %q of type %d, %v", names, kind, err)
	}
	if text, kind, err := key.GetStringValue(valueServers); err != nil || kind != registry.SZ || text != serversText {
		t.Errorf("servers %q of type %d, %v", text, kind, err)
	}
	for name, want := range map[string]uint64{valueOptions: 8, valueVersion: 2} {
		if n, kind, err := key.GetIntegerValue(name); err != nil || kind != registry.DWORD || n != want {
			t.Errorf("%s is %d of type %d, %v", name, n, kind, err)
		}
	}
	if text, _, err := key.GetStringValue(valueComment); err != nil || text != mark {
		t.Errorf("comment %q, %v", text, err)
	}
}

// TestLargeValues has values that need a second call of the registry.
func TestLargeValues(t *testing.T) {
	h := newHost(t)
	want := []Value{{"Name", regMultiSZ, make([]byte, 100_000)}, {"Empty", regSZ, nil}}
	must(t, h.Write(Local, foreignID, want))
	if got, err := h.Read(Local, foreignID); err != nil || !same(got, want) {
		t.Errorf("%d values, %v", len(got), err)
	}
}

// TestMissingKeys has nothing there at all.
func TestMissingKeys(t *testing.T) {
	h := newHost(t).(realHost)
	if _, err := h.Read(Local, foreignID); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("read: %v", err)
	}
	must(t, h.Delete(Local, foreignID))
	must(t, h.Delete(Policy, foreignID))
	if err := h.Write(Policy, foreignID, nil); !errors.Is(err, ErrNoPolicy) {
		t.Errorf("write: %v", err)
	}
	if _, exists, err := h.List(Policy); exists || err != nil {
		t.Errorf("the key of group policy was made: %v %v", exists, err)
	}
	if err := h.Retire(nil); err == nil {
		t.Error("a key that is not there was retired")
	}
}

// TestRetireSparesOthers: a rule that came after the plan was made stays in
// effect.
func TestRetireSparesOthers(t *testing.T) {
	h := newHost(t).(realHost)
	h.setPolicy(true)
	must(t, h.Write(Policy, ruleID(0), encode([]string{".coder"}, serversText)))
	must(t, h.Write(Policy, foreignID, foreignRule(".", "192.0.2.1", "Other")))
	before := take(t, h)
	if err := h.Retire([]string{ruleID(0)}); err == nil {
		t.Error("a foreign rule was retired")
	}
	// It comes in the middle.
	must(t, h.rename(tableKey, retiredKey))
	if err := h.holdsOnly(h.parent(Policy)+`\`+retiredKey, []string{ruleID(0)}); err == nil {
		t.Error("the foreign rule is not noticed")
	}
	must(t, h.rename(retiredKey, tableKey))
	if now := take(t, h); !sameRules(before.places[Policy], now.places[Policy]) || now.retired {
		t.Errorf("the table changed: %v", now)
	}
}
