package nrpt

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/causewayhq/causeway/netcfg"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// host is a store that tests can prepare: newHost gives the registry on
// Windows and Wine, and memory elsewhere, so that one suite holds for both.
type host interface {
	Store
	// setPolicy makes the key of group policy, empty, or removes it.
	setPolicy(exists bool)
}

// memory is a registry of two keys.
type memory struct {
	mu      sync.Mutex
	places  [2]map[string][]Value // nil: no such key
	retired map[string][]Value
}

func newMemory() *memory { return &memory{} }

func (m *memory) List(place Place) ([]string, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.places[place])), m.places[place] != nil, nil
}

func (m *memory) Read(place Place, id string) ([]Value, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	values, found := m.places[place][id]
	if !found {
		return nil, &fs.PathError{Op: "open key", Path: id, Err: fs.ErrNotExist}
	}
	return slices.Clone(values), nil
}

func (m *memory) Write(place Place, id string, values []Value) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.places[place] == nil {
		if place == Policy {
			return ErrNoPolicy
		}
		m.places[place] = map[string][]Value{}
	}
	m.places[place][id] = slices.Clone(values)
	return nil
}

func (m *memory) Delete(place Place, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.places[place], id)
	return nil
}

func (m *memory) Retire(ids []string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id := range m.places[Policy] {
		if !slices.Contains(ids, id) {
			return errors.New("a rule of another program")
		}
	}
	m.retired, m.places[Policy] = m.places[Policy], nil
	return nil
}

func (m *memory) Retired() (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.retired != nil, nil
}

func (m *memory) Sweep() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.retired = nil
	return nil
}

func (m *memory) setPolicy(exists bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.places[Policy] = nil
	if exists {
		m.places[Policy] = map[string][]Value{}
	}
}

// listed is a journal in memory.
type listed struct{ changes []netcfg.Change }

func (j *listed) Record(changes ...netcfg.Change) error {
	for _, c := range changes {
		j.changes = append(j.changes, missing([]netcfg.Change{c}, j.changes)...)
	}
	return nil
}

func (j *listed) Done(changes ...netcfg.Change) error {
	j.changes = missing(j.changes, changes)
	return nil
}

func (j *listed) Entries() []netcfg.Change { return slices.Clone(j.changes) }

// system counts what it is told, and can fail, hang and report changes.
type system struct {
	mu              sync.Mutex
	notified, flush int
	err             error
	hang            chan struct{}
	changes         chan struct{}
}

func newSystem() *system { return &system{changes: make(chan struct{})} }

func (s *system) NotifyPolicy() error { return s.count(&s.notified) }
func (s *system) FlushCache() error   { return s.count(&s.flush) }

func (s *system) count(n *int) error {
	s.mu.Lock()
	*n++
	err, hang := s.err, s.hang
	s.mu.Unlock()
	if hang != nil {
		<-hang
	}
	return err
}

func (s *system) told() (notified, flushed int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.notified, s.flush
}

func (s *system) Watch(ctx context.Context, changed func()) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.changes:
			changed()
		}
	}
}

var (
	errCrashed = errors.New("the process is dead")
	errDenied  = errors.New("access denied")
)

// fragile lets a number of steps through and none after them, as if the process
// had died; each value of a rule is a step. It can also refuse single steps.
type fragile struct {
	host
	*listed
	steps int // left; below 0: no end
	deny  func(op string, place Place, id string) bool
	log   []string
}

func (f *fragile) step(op string, place Place, id string) error {
	if f.deny != nil && f.deny(op, place, id) {
		return errDenied
	}
	if f.steps == 0 {
		return errCrashed
	}
	f.steps--
	f.log = append(f.log, strings.TrimSpace(fmt.Sprintf("%s %s %s", op, place, id)))
	return nil
}

func (f *fragile) Write(place Place, id string, values []Value) error {
	for i := range values {
		if err := f.step("write", place, id); err != nil {
			return err
		}
		now, err := f.Read(place, id)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		now = slices.DeleteFunc(now, func(v Value) bool { return v.Name == values[i].Name })
		if err := f.host.Write(place, id, append(now, values[i])); err != nil {
			return err
		}
	}
	if err := f.step("write", place, id); err != nil {
		return err
	}
	return f.host.Write(place, id, values)
}

func (f *fragile) Delete(place Place, id string) error {
	if err := f.step("delete", place, id); err != nil {
		return err
	}
	return f.host.Delete(place, id)
}

func (f *fragile) Retire(ids []string) error {
	if err := f.step("retire", Policy, ""); err != nil {
		return err
	}
	return f.host.Retire(ids)
}

func (f *fragile) Sweep() error {
	if err := f.step("sweep", Policy, ""); err != nil {
		return err
	}
	return f.host.Sweep()
}

func (f *fragile) Record(changes ...netcfg.Change) error {
	if err := f.step("record", Local, ""); err != nil {
		return err
	}
	return f.listed.Record(changes...)
}

func (f *fragile) Done(changes ...netcfg.Change) error {
	if err := f.step("forget", Local, ""); err != nil {
		return err
	}
	return f.listed.Done(changes...)
}

func rules(store Store, journal Journal, s System) *Rules {
	return New(Options{Store: store, System: s, Journal: journal, Logger: slog.New(slog.DiscardHandler)})
}

var servers = []netip.Addr{netip.MustParseAddr("fd60:627a:a42b::53")}

const serversText = "fd60:627a:a42b::53"

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// suffixes are n different ones from a number on.
func suffixes(from, n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("s%03d.example", from+i)
	}
	return list
}

// foreignRule is what another VPN would write.
func foreignRule(name, server, title string) []Value {
	return []Value{
		{valueVersion, regDWORD, binary.LittleEndian.AppendUint32(nil, 1)},
		{valueName, regMultiSZ, encodeTexts([]string{name})},
		{valueServers, regSZ, encodeText(server)},
		{valueOptions, regDWORD, binary.LittleEndian.AppendUint32(nil, 8)},
		{valueDisplayName, regSZ, encodeText(title)},
	}
}

const (
	foreignID   = "{5ABE529B-675B-4486-8459-25A634DACC23}"
	foreignID2  = "{6C0507CB-C884-4A78-BC55-0ACEE21227F6}"
	strangersID = "not-even-a-guid"
)

// contents is a whole table, for comparison and to go back to.
type contents struct {
	places  [2]map[string][]Value
	retired bool
	effect  map[string]bool // of inEffect
}

func take(t testing.TB, h host) *contents {
	t.Helper()
	c := &contents{}
	for _, place := range []Place{Local, Policy} {
		list, exists, err := h.List(place)
		must(t, err)
		if !exists {
			continue
		}
		c.places[place] = map[string][]Value{}
		for _, id := range list {
			values, err := h.Read(place, id)
			must(t, err)
			slices.SortFunc(values, func(a, b Value) int { return strings.Compare(a.Name, b.Name) })
			c.places[place][id] = values
		}
	}
	var err error
	c.retired, err = h.Retired()
	must(t, err)
	return c
}

// put makes the host hold these contents; retired rules are not among them.
func put(t testing.TB, h host, c *contents) {
	t.Helper()
	must(t, h.Sweep())
	for _, place := range []Place{Local, Policy} {
		list, exists, err := h.List(place)
		must(t, err)
		for _, id := range list {
			if _, stays := c.places[place][id]; !stays {
				must(t, h.Delete(place, id))
			}
		}
		if place == Policy && exists != (c.places[Policy] != nil) {
			h.setPolicy(c.places[Policy] != nil)
		}
		for id, values := range c.places[place] {
			must(t, h.Write(place, id, values))
		}
	}
}

// foreign are the rules of others in a place.
func (c *contents) foreign(place Place) map[string][]Value {
	return maps.Collect(func(yield func(string, []Value) bool) {
		for id, values := range c.places[place] {
			if !(State{}).owns(Found{ID: id, Values: values}) && !yield(id, values) {
				return
			}
		}
	})
}

// ours are the rules of ours in a place.
func (c *contents) ours(place Place) []Rule {
	var list []Rule
	for _, id := range slices.Sorted(maps.Keys(c.places[place])) {
		if (State{}).owns(Found{ID: id, Values: c.places[place][id]}) {
			list = append(list, decode(id, c.places[place][id]))
		}
	}
	return list
}

// inEffect are the names that Windows has a usable rule for.
func (c *contents) inEffect() map[string]bool {
	if c.effect == nil {
		c.effect = c.findEffect()
	}
	return c.effect
}

func (c *contents) findEffect() map[string]bool {
	place := Local
	if c.places[Policy] != nil {
		place = Policy
	}
	names := map[string]bool{}
	for id, values := range c.places[place] {
		options := slices.ContainsFunc(values, func(v Value) bool { return v.Name == valueOptions && len(v.Data) == 4 && v.Data[0]&8 != 0 })
		if rule := decode(id, values); options && rule.Servers != "" {
			for _, name := range rule.Names {
				names[name] = true
			}
		}
	}
	return names
}

func sameRules(a, b map[string][]Value) bool { return maps.EqualFunc(a, b, same) }

// checkSettled checks that the table is exactly what is wanted, in as few rules
// as can be, and that the journal lists them and nothing else.
func checkSettled(t testing.TB, h host, j *listed, suffixes []string) {
	t.Helper()
	now := take(t, h)
	var want []string
	for _, s := range suffixes {
		want = append(want, "."+s)
	}
	slices.Sort(want)
	needed := (len(want) + maxNames - 1) / maxNames
	var journal []netcfg.Change
	for _, place := range []Place{Local, Policy} {
		ours := now.ours(place)
		mirrored := place == Local || now.places[Policy] != nil
		if !mirrored {
			continue
		}
		var got []string
		for _, rule := range ours {
			got = append(got, rule.Names...)
			if len(rule.Names) > maxNames || rule.Servers != serversText || !same(now.places[place][rule.ID], encode(rule.Names, rule.Servers)) {
				t.Fatalf("%s rule is %+v", place, rule)
			}
			if c := ruleChange(rule.ID); !slices.Contains(journal, c) {
				journal = append(journal, c)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) || len(ours) != needed {
			t.Fatalf("%s: %d rules with %d names, want %d with %d", place, len(ours), len(got), needed, len(want))
		}
	}
	if now.retired {
		t.Fatal("retired rules were left")
	}
	entries := slices.DeleteFunc(j.Entries(), func(c netcfg.Change) bool { return c == foundEmpty })
	if len(missing(entries, journal)) > 0 || len(missing(journal, entries)) > 0 {
		t.Fatalf("journal holds %v, the table %v", entries, journal)
	}
}

// within is a context for what must not take long.
func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}
