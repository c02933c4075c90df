package nrpt

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/causewayhq/causeway/netcfg"
)

// TestStartDeletesNothing: an earlier process left rules; making Rules, failing,
// and failing again leave them in effect, and the first success takes them over.
func TestStartDeletesNothing(t *testing.T) {
	h, journal := newHost(t), &listed{}
	must(t, rules(h, journal, newSystem()).SetDNS(within(t), suffixes(0, 125), servers))
	before := take(t, h)
	for _, denied := range []string{"record", "write"} {
		f := &fragile{host: h, listed: journal, steps: -1, deny: func(op string, _ Place, _ string) bool { return op == denied }}
		r := rules(f, f, newSystem())
		if !sameRules(before.places[Local], take(t, h).places[Local]) {
			t.Fatal("New changed the table")
		}
		// The old rules, and one name more than they have room for.
		err := r.SetDNS(within(t), suffixes(100, 151), servers)
		if !errors.Is(err, errDenied) || strings.Contains(strings.Join(f.log, " "), "delete") {
			t.Errorf("%s denied: %v after %q", denied, err, f.log)
		}
		if !sameRules(before.places[Local], take(t, h).places[Local]) {
			t.Errorf("%s denied: the table changed", denied)
		}
	}
	if err := rules(h, journal, newSystem()).SetDNS(within(t), []string{"not ok"}, servers); err == nil {
		t.Error("a bad suffix was taken")
	}
	if !sameRules(before.places[Local], take(t, h).places[Local]) {
		t.Error("a bad suffix changed the table")
	}
	must(t, rules(h, journal, newSystem()).SetDNS(within(t), suffixes(0, 2), servers))
	checkSettled(t, h, journal, suffixes(0, 2))
}

// TestOneWriteFails: what stands stays and is announced, what failed is tried
// again with the next call.
func TestOneWriteFails(t *testing.T) {
	h, s := newHost(t), newSystem()
	h.setPolicy(true)
	must(t, h.Write(Policy, foreignID, foreignRule(".corp.example", "192.0.2.53", "Corp")))
	f := &fragile{host: h, listed: &listed{}, steps: -1, deny: func(op string, place Place, _ string) bool { return op == "write" && place == Policy }}
	r := rules(f, f, s)
	if err := r.SetDNS(within(t), suffixes(0, 3), servers); !errors.Is(err, errDenied) || !strings.Contains(err.Error(), "write group policy rule "+ruleID(0)) {
		t.Errorf("got %v", err)
	}
	if n, m := s.told(); n != 1 || m != 1 {
		t.Errorf("%d notifications, %d flushes", n, m)
	}
	f.deny = nil
	must(t, r.SetDNS(within(t), suffixes(0, 3), servers))
	checkSettled(t, h, f.listed, suffixes(0, 3))
}

// TestOneDeletionFails: the others go, and the journal keeps what is left.
func TestOneDeletionFails(t *testing.T) {
	h := newHost(t)
	f := &fragile{host: h, listed: &listed{}, steps: -1}
	r := rules(f, f, newSystem())
	must(t, r.SetDNS(within(t), suffixes(0, 125), servers))
	f.deny = func(op string, _ Place, id string) bool { return op == "delete" && id == ruleID(1) }
	if err := r.Cleanup(within(t)); !errors.Is(err, errDenied) || !strings.Contains(err.Error(), ruleID(1)) {
		t.Errorf("got %v", err)
	}
	if ours := take(t, h).ours(Local); len(ours) != 1 || !slices.Contains(f.Entries(), ruleChange(ours[0].ID)) {
		t.Errorf("left %v, journal %v", ours, f.Entries())
	}
	f.deny = nil
	must(t, r.Cleanup(within(t)))
	checkSettled(t, h, f.listed, nil)
}

// TestMarks: each mark alone makes a rule ours, in either place; no mark at all
// does not, whatever it says.
func TestMarks(t *testing.T) {
	h := newHost(t)
	h.setPolicy(true)
	const copied, listedID = "{00000000-0000-0000-0000-00000000000A}", "{00000000-0000-0000-0000-00000000000B}"
	plain := foreignRule(".coder", serversText, displayName)
	for _, place := range []Place{Local, Policy} {
		must(t, h.Write(place, foreignID, plain))
		must(t, h.Write(place, ruleID(500), plain))
		must(t, h.Write(place, copied, encode([]string{".coder"}, serversText)))
		must(t, h.Write(place, listedID, plain))
	}
	must(t, rules(h, &listed{[]netcfg.Change{ruleChange(strings.ToLower(listedID))}}, newSystem()).Cleanup(within(t)))
	for _, place := range []Place{Local, Policy} {
		if list, _, err := h.List(place); err != nil || !slices.Equal(list, []string{foreignID}) {
			t.Errorf("%s: %q is left, %v", place, list, err)
		}
	}
}

// TestAdditions: what somebody added to a rule of ours goes.
func TestAdditions(t *testing.T) {
	h, journal := newHost(t), &listed{}
	must(t, rules(h, journal, newSystem()).SetDNS(within(t), []string{"coder"}, servers))
	values, err := h.Read(Local, ruleID(0))
	must(t, err)
	must(t, h.Write(Local, ruleID(0), append(values, Value{"DirectAccessDNSServers", regSZ, encodeText("192.0.2.1")})))
	must(t, rules(h, journal, newSystem()).SetDNS(within(t), []string{"coder"}, servers))
	checkSettled(t, h, journal, []string{"coder"})
}

// vanishing loses the key of group policy when it is written for the first time.
type vanishing struct {
	host
	done bool
}

func (v *vanishing) Write(place Place, id string, values []Value) error {
	if place == Policy && !v.done {
		v.done = true
		v.setPolicy(false)
	}
	return v.host.Write(place, id, values)
}

func TestPolicyGoesWhileWeWrite(t *testing.T) {
	h, journal := newHost(t), &listed{}
	h.setPolicy(true)
	must(t, rules(&vanishing{host: h}, journal, newSystem()).SetDNS(within(t), suffixes(0, 2), servers))
	if _, exists, err := h.List(Policy); exists || err != nil {
		t.Errorf("the key of group policy came back: %v", err)
	}
	checkSettled(t, h, journal, suffixes(0, 2))
}

// TestFileJournal is with the journal that the service has.
func TestFileJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	journal, err := netcfg.OpenJournal(path)
	must(t, err)
	other := netcfg.Change{Kind: "address", Value: "fd60::2/128"}
	must(t, journal.Record(other))
	h := newHost(t)
	must(t, rules(h, journal, newSystem()).SetDNS(within(t), suffixes(0, 51), servers))
	again, err := netcfg.OpenJournal(path)
	must(t, err)
	if want := []netcfg.Change{other, ruleChange(ruleID(0)), ruleChange(ruleID(1))}; !slices.Equal(again.Entries(), want) {
		t.Errorf("journal %v", again.Entries())
	}
	must(t, rules(h, again, newSystem()).Cleanup(within(t)))
	if got := again.Entries(); !slices.Equal(got, []netcfg.Change{other}) {
		t.Errorf("journal %v", got)
	}
}

func TestRivals(t *testing.T) {
	h, journal := newHost(t), &listed{}
	must(t, h.Write(Local, foreignID, foreignRule(".", "10.2.0.1", "Other VPN")))
	must(t, h.Write(Local, foreignID2, foreignRule(".corp.example", "192.0.2.53", "Corp")))
	r := rules(h, journal, newSystem())
	if r.Trouble() != nil {
		t.Error("trouble before anything was looked at")
	}
	must(t, r.SetDNS(within(t), []string{"coder"}, servers))
	want := `another program's rule "Other VPN" sends all names to 10.2.0.1 (local, ` + foreignID + ")"
	if err := r.Trouble(); err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
	// In group policy, which hides the other; more specific than ours.
	h.setPolicy(true)
	rule := append(foreignRule(".me.CODER", "10.3.0.1", ""), Value{valueComment, regSZ, encodeText("set by IT")})
	must(t, h.Write(Policy, foreignID2, rule[:4]))
	must(t, h.Write(Policy, foreignID, append(rule[:4:4], rule[5])))
	must(t, r.SetDNS(within(t), []string{"coder"}, servers))
	if list := r.Rivals(); len(list) != 2 || list[0].Place != Policy || list[0].Name != ".me.CODER" || list[0].Rule.Servers != "10.3.0.1" {
		t.Errorf("got %v", list)
	}
	if err := r.Trouble(); err == nil || !strings.Contains(err.Error(), `"set by IT"`) || !strings.Contains(err.Error(), `"unnamed"`) {
		t.Errorf("got %v", err)
	}
	before := take(t, h)
	must(t, r.Cleanup(within(t)))
	if r.Trouble() != nil || !sameRules(before.foreign(Local), take(t, h).places[Local]) {
		t.Errorf("after cleanup: %v", r.Trouble())
	}
}
