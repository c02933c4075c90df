package nrpt

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/causewayhq/causeway/netcfg"
)

// history makes a host that has a past: rules of ours from another time, group
// policy in one of its states, rules of others, and damage.
func history(t testing.TB, random *rand.Rand, h host) (*listed, []string) {
	journal := &listed{}
	put(t, h, &contents{})
	coin := func() bool { return random.IntN(2) == 0 }
	if coin() {
		must(t, h.Write(Local, foreignID, foreignRule(".", "10.2.0.1", "Other VPN")))
	}
	mode := random.IntN(5) // absent, empty, foreign, foreign first and then only ours, ours on an empty one
	h.setPolicy(mode > 0)
	if mode == 2 || mode == 3 {
		must(t, h.Write(Policy, foreignID2, foreignRule(".corp.example", "192.0.2.53", "Corp")))
		must(t, h.Write(Policy, strangersID, []Value{{"Name", regDWORD, []byte{1}}}))
	}
	counts := []int{0, 1, 2, 49, 50, 51, 75, 100, 101, 125}
	before := suffixes(random.IntN(60), counts[random.IntN(len(counts))])
	if mode != 1 || coin() {
		must(t, rules(h, journal, newSystem()).SetDNS(t.Context(), before, servers))
	}
	if mode == 3 {
		must(t, h.Delete(Policy, foreignID2))
		must(t, h.Delete(Policy, strangersID))
	}
	damage(t, random, h, before)
	if random.IntN(4) == 0 {
		journal.changes = nil
	}
	// Most of what is wanted now was wanted then.
	want := suffixes(random.IntN(60), counts[random.IntN(len(counts))])
	random.Shuffle(len(want), func(i, k int) { want[i], want[k] = want[k], want[i] })
	return journal, want
}

// damage does to our rules what editors, older versions and crashes do.
func damage(t testing.TB, random *rand.Rand, h host, names []string) {
	for _, place := range []Place{Local, Policy} {
		ours := take(t, h).ours(place)
		if len(ours) == 0 || random.IntN(2) == 0 {
			continue
		}
		victim := ours[random.IntN(len(ours))].ID
		var wide []string
		for _, name := range names {
			wide = append(wide, "."+strings.ToUpper(name))
		}
		switch random.IntN(7) {
		case 0:
			must(t, h.Delete(place, victim))
		case 1: // more names than Windows takes, all of them twice
			must(t, h.Write(place, victim, encode(append(wide, wide...), "192.0.2.1")))
		case 2: // the mark edited away
			values := encode([]string{".a.example"}, serversText)
			must(t, h.Write(place, victim, values[2:]))
		case 3: // half written
			must(t, h.Write(place, ruleID(77), encode(nil, "")[:random.IntN(5)+1]))
		case 4: // a copy, under an identifier that is not ours
			must(t, h.Write(place, "{00000000-0000-0000-0000-00000000000C}", encode(wide[:min(len(wide), 20)], serversText)))
		case 6: // all names in one rule, and nowhere else
			for _, rule := range ours {
				must(t, h.Delete(place, rule.ID))
			}
			must(t, h.Write(place, victim, encode(wide, serversText)))
		case 5: // the same names in all rules
			for _, rule := range ours {
				must(t, h.Write(place, rule.ID, encode(wide[:min(len(wide), 60)], serversText)))
			}
		}
	}
}

// checkPromise is what must hold wherever a plan was interrupted.
func checkPromise(t testing.TB, before, now *contents, want []string, log []string) {
	t.Helper()
	had, has := before.inEffect(), now.inEffect()
	lower := func(names map[string]bool, name string) bool {
		return names["."+name] || names["."+strings.ToUpper(name)]
	}
	for _, name := range want {
		if lower(had, name) && !lower(has, name) {
			t.Fatalf("%s had a rule and has none after\n%s", name, strings.Join(log, "\n"))
		}
	}
	for _, place := range []Place{Local, Policy} {
		if !sameRules(before.foreign(place), now.foreign(place)) {
			t.Fatalf("%s rules of others changed after\n%s", place, strings.Join(log, "\n"))
		}
	}
	if before.places[Policy] == nil && now.places[Policy] != nil {
		t.Fatal("we made a key of group policy")
	}
	if before.places[Policy] != nil && len(before.places[Policy]) == 0 && now.places[Policy] == nil {
		t.Fatal("the empty key of group policy is gone")
	}
}

// TestCrashAnywhere is the promise of the package: from any past, a process
// that dies after any step leaves no gap and touches nothing of others, and the
// next one gets to the same end, whether it applies or cleans up, and whether
// the journal is there or lost.
func TestCrashAnywhere(t *testing.T) {
	h := newHost(t)
	crashes := 0
	for seed := range uint64(scenarios) {
		random := rand.New(rand.NewPCG(seed, 12))
		journal, want := history(t, random, h)
		before, entries := take(t, h), journal.Entries()
		for steps := 0; ; steps++ {
			put(t, h, before)
			f := &fragile{host: h, listed: &listed{slices.Clone(entries)}, steps: steps}
			err := rules(f, f, newSystem()).SetDNS(t.Context(), want, servers)
			now := take(t, h)
			checkPromise(t, before, now, want, f.log)
			if err == nil {
				checkSettled(t, h, f.listed, want)
				checkCleanup(t, h, f.listed, before)
				break
			}
			crashes++
			checkNextStart(t, h, f, want, before, steps)
		}
	}
	t.Logf("%d scenarios, %d crashes", scenarios, crashes)
}

func checkNextStart(t testing.TB, h host, f *fragile, want []string, before *contents, steps int) {
	t.Helper()
	now := take(t, h)
	next := &listed{slices.Clone(f.changes)}
	if steps%3 == 0 { // instead of starting, the user removes the program
		checkCleanup(t, h, next, before)
		return
	}
	if steps%3 == 1 {
		next.changes = slices.DeleteFunc(next.changes, func(c netcfg.Change) bool { return c.Kind == KindRule })
	}
	must(t, rules(h, next, newSystem()).SetDNS(t.Context(), want, servers))
	checkPromise(t, now, take(t, h), want, nil)
	checkSettled(t, h, next, want)
	state, err := rules(h, next, newSystem()).read()
	must(t, err)
	state.Unannounced = false
	w, err := NewWant(want, servers)
	must(t, err)
	if ops := Plan(state, w); len(ops) != 0 {
		t.Fatalf("the plan from the end has %d operations: %v", len(ops), ops)
	}
}

// checkCleanup cleans up twice, the second time with nothing in the journal.
func checkCleanup(t testing.TB, h host, journal *listed, before *contents) {
	t.Helper()
	for range 2 {
		must(t, rules(h, journal, newSystem()).Cleanup(t.Context()))
		now := take(t, h)
		if len(now.ours(Local))+len(now.ours(Policy)) > 0 || now.retired || len(journal.changes) > 0 {
			t.Fatalf("left: %v %v, retired %v, journal %v", now.ours(Local), now.ours(Policy), now.retired, journal.changes)
		}
		checkPromise(t, before, now, nil, nil)
		journal = &listed{}
	}
}

// TestCounts goes through numbers of names, with group policy in each state.
func TestCounts(t *testing.T) {
	for _, policy := range []string{"absent", "empty", "foreign", "ours"} {
		t.Run(policy, func(t *testing.T) {
			h, journal := newHost(t), &listed{}
			h.setPolicy(policy != "absent")
			if policy == "foreign" || policy == "ours" {
				must(t, h.Write(Policy, foreignID, foreignRule(".corp.example", "192.0.2.53", "Corp")))
			}
			r := rules(h, journal, newSystem())
			for i, n := range []int{1, 50, 51, 125, 75, 50, 0, 125, 1, 0} {
				must(t, r.SetDNS(within(t), suffixes(0, n), servers))
				checkSettled(t, h, journal, suffixes(0, n))
				_, exists, err := h.List(Policy)
				must(t, err)
				if policy == "ours" && i == 0 { // group policy withdraws its rules
					must(t, h.Delete(Policy, foreignID))
				} else if policy == "ours" && exists {
					t.Fatal("the key of group policy stayed with nothing but our rules in it")
				}
				if exists != (policy == "empty" || policy == "foreign" || policy == "ours" && i == 0) {
					t.Fatalf("the key of group policy exists: %v", exists)
				}
			}
		})
	}
}

// TestWritesOnlyOnChange counts steps of a second process that wants the same.
func TestWritesOnlyOnChange(t *testing.T) {
	h, journal := newHost(t), &listed{}
	h.setPolicy(true)
	must(t, h.Write(Policy, foreignID, foreignRule(".corp.example", "192.0.2.53", "Corp")))
	must(t, rules(h, journal, newSystem()).SetDNS(within(t), suffixes(0, 75), servers))
	f := &fragile{host: h, listed: journal, steps: -1}
	s := newSystem()
	r := rules(f, f, s)
	for range 5 {
		must(t, r.SetDNS(within(t), suffixes(0, 75), servers))
	}
	// The first process may have died before it told anybody.
	if n, m := s.told(); len(f.log) != 0 || n != 1 || m != 1 {
		t.Errorf("steps %q, %d notifications, %d flushes", f.log, n, m)
	}
}

// TestOrder is the design's order of one plan that has everything in it.
func TestOrder(t *testing.T) {
	h, journal := newHost(t), &listed{}
	h.setPolicy(true)
	must(t, h.Write(Policy, foreignID, foreignRule(".corp.example", "192.0.2.53", "Corp")))
	must(t, rules(h, journal, newSystem()).SetDNS(within(t), suffixes(0, 75), servers))
	must(t, h.Delete(Policy, foreignID))
	state, err := rules(h, journal, newSystem()).read()
	must(t, err)
	want, err := NewWant(suffixes(60, 101), servers)
	must(t, err)
	var kinds []OpKind
	for _, op := range Plan(state, want) {
		if len(kinds) == 0 || kinds[len(kinds)-1] != op.Kind {
			kinds = append(kinds, op.Kind)
		}
	}
	if !slices.Equal(kinds, []OpKind{OpRecord, OpWrite, OpRetire, OpSweep, OpNotify, OpFlush}) {
		t.Errorf("order %v", kinds)
	}
	must(t, rules(h, journal, newSystem()).SetDNS(within(t), suffixes(0, 125), servers))
	if state, err = rules(h, journal, newSystem()).read(); err != nil {
		t.Fatal(err)
	}
	kinds = nil
	want, err = NewWant(suffixes(100, 30), servers)
	must(t, err)
	for _, op := range Plan(state, want) {
		kinds = append(kinds, op.Kind)
	}
	if !slices.Equal(kinds, []OpKind{OpWrite, OpDelete, OpDelete, OpForget, OpNotify, OpFlush}) {
		t.Errorf("order %v", kinds)
	}
}
