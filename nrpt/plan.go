package nrpt

import (
	"cmp"
	"slices"
	"strings"

	"github.com/causewayhq/causeway/netcfg"
)

// Found is one rule in a place as it was read.
type Found struct {
	ID     string
	Values []Value
}

// State is all that a plan depends on, beside what is wanted.
type State struct {
	Local, Policy []Found
	// PolicyExists is whether there is a key of group policy, even empty.
	PolicyExists bool
	// Retired is whether a retired key waits to be swept.
	Retired bool
	// Journal is what is recorded.
	Journal []netcfg.Change
	// Unannounced is whether the system may not have been told of what stands
	// in the registry, for an earlier process may have died before that.
	Unannounced bool
}

// OpKind is what an Op does.
type OpKind int

// The operations, in the order of a plan.
const (
	OpRecord OpKind = iota // Changes go into the journal
	OpWrite                // Values go into ID in Place
	OpDelete               // ID goes from Place
	OpRetire               // the key of group policy goes, with IDs
	OpSweep                // what was retired goes
	OpForget               // Changes go from the journal
	OpNotify               // the system reads the rules again
	OpFlush                // the system's cache is emptied
)

// Op is one operation of a plan.
type Op struct {
	Kind    OpKind
	Place   Place
	ID      string
	Values  []Value
	IDs     []string
	Changes []netcfg.Change
}

// Plan returns the operations that bring the table to what is wanted. After
// every prefix of them, each wanted name that had a rule in effect has one; what
// is not ours is as it was; and a new plan from there leads to the same end.
// When an operation before the first OpDelete fails, nothing may be deleted.
// There are none when there is nothing to do.
func Plan(s State, want Want) []Op {
	mirror, retire, note := s.policyFate(want)
	var writes, deletes, ops []Op
	for _, place := range []Place{Local, Policy} {
		names := want.names
		if place == Policy {
			if retire || !s.PolicyExists {
				continue
			}
			if !mirror {
				names = nil
			}
		}
		w, d := cover(place, s.ours(place), names, want.servers)
		writes, deletes = append(writes, w...), append(deletes, d...)
	}
	ops = appendChanges(ops, OpRecord, missing(recordsOf(writes, note), s.Journal))
	ops = append(append(ops, writes...), deletes...)
	if retire {
		ops = append(ops, Op{Kind: OpRetire, IDs: ids(s.ours(Policy))})
	}
	if retire || s.Retired {
		ops = append(ops, Op{Kind: OpSweep})
	}
	ops = appendChanges(ops, OpForget, s.spent(writes, deletes, retire, note))
	if len(writes) > 0 || len(deletes) > 0 || retire || s.Unannounced {
		ops = append(ops, Op{Kind: OpNotify}, Op{Kind: OpFlush})
	}
	return ops
}

// policyFate decides what becomes of the place of group policy: whether our
// rules have to be there too, whether it goes as a whole, and whether to
// remember that it was found empty. It goes when nothing but our rules is left
// in it: they alone would keep hiding everybody's local rules.
func (s State) policyFate(want Want) (mirror, retire, note bool) {
	ours := len(s.ours(Policy))
	foreign := len(s.Policy) > ours
	wasEmpty := slices.Contains(s.Journal, foundEmpty)
	switch {
	case !s.PolicyExists:
		return false, false, false
	case foreign:
		return len(want.names) > 0, false, false
	case ours > 0 && !wasEmpty:
		return false, true, false
	default:
		return len(want.names) > 0, false, len(want.names) > 0
	}
}

// ours are the rules of a place that carry a mark or are in the journal.
func (s State) ours(place Place) []Found {
	found := s.Local
	if place == Policy {
		found = s.Policy
	}
	var ours []Found
	for _, f := range found {
		if s.owns(f) {
			ours = append(ours, f)
		}
	}
	return ours
}

func (s State) owns(f Found) bool {
	return inNamespace(f.ID) || decode(f.ID, f.Values).Comment == mark ||
		slices.ContainsFunc(s.Journal, func(c netcfg.Change) bool { return c.Kind == KindRule && strings.EqualFold(c.Value, f.ID) })
}

// keeper is a rule that stays or comes.
type keeper struct {
	found Found
	names []string // will be in it
	gains bool     // some of them are not in it yet
}

// cover returns the operations for one place. A name stays in the rule where it
// is whenever there is room, so that writing a rule takes no name away that is
// wanted; where it has to move, the rule that gets it is written first.
func cover(place Place, ours []Found, names []string, servers string) (writes, deletes []Op) {
	keepers, surplus := choose(ours, names)
	homeless := slices.Clone(names)
	for i := range keepers {
		has := decode(keepers[i].found.ID, keepers[i].found.Values).Names
		homeless = slices.DeleteFunc(homeless, func(name string) bool {
			stays := len(keepers[i].names) < maxNames && slices.ContainsFunc(has, func(n string) bool { return strings.EqualFold(n, name) })
			if stays {
				keepers[i].names = append(keepers[i].names, name)
			}
			return stays
		})
	}
	for i := range keepers {
		moved := min(maxNames-len(keepers[i].names), len(homeless))
		keepers[i].names, keepers[i].gains = append(keepers[i].names, homeless[:moved]...), moved > 0
		homeless = homeless[moved:]
		slices.Sort(keepers[i].names)
	}
	for _, gains := range []bool{true, false} {
		for _, k := range keepers {
			if values := encode(k.names, servers); k.gains == gains && !same(values, k.found.Values) {
				writes = append(writes, Op{Kind: OpWrite, Place: place, ID: k.found.ID, Values: values})
			}
		}
	}
	for _, f := range surplus {
		deletes = append(deletes, Op{Kind: OpDelete, Place: place, ID: f.ID})
	}
	return writes, deletes
}

// choose returns as many rules as the names need: those of ours that hold most
// of them, then new ones. The rest is surplus.
func choose(ours []Found, names []string) (keepers []keeper, surplus []Found) {
	held := func(f Found) int {
		return min(maxNames, len(slices.DeleteFunc(decode(f.ID, f.Values).Names, func(name string) bool {
			return !slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) })
		})))
	}
	ours = slices.SortedStableFunc(slices.Values(ours), func(a, b Found) int {
		return cmp.Or(cmp.Compare(held(b), held(a)), cmp.Compare(a.ID, b.ID))
	})
	need := (len(names) + maxNames - 1) / maxNames
	for _, f := range ours[:min(need, len(ours))] {
		keepers = append(keepers, keeper{found: f})
	}
	surplus = ours[len(keepers):]
	for n := 0; len(keepers) < need; n++ {
		if id := ruleID(n); !slices.ContainsFunc(ours, func(f Found) bool { return strings.EqualFold(f.ID, id) }) {
			keepers = append(keepers, keeper{found: Found{ID: id}})
		}
	}
	return keepers, surplus
}

// recordsOf is what has to be in the journal before the writes.
func recordsOf(writes []Op, note bool) []netcfg.Change {
	var changes []netcfg.Change
	for _, op := range writes {
		if c := ruleChange(op.ID); !slices.Contains(changes, c) {
			changes = append(changes, c)
		}
	}
	if note {
		changes = append(changes, foundEmpty)
	}
	return changes
}

// spent is what the journal need not hold once the plan is carried out.
func (s State) spent(writes, deletes []Op, retire, note bool) []netcfg.Change {
	stay := recordsOf(writes, note)
	for _, place := range []Place{Local, Policy} {
		for _, f := range s.ours(place) {
			gone := retire && place == Policy || slices.ContainsFunc(deletes, func(op Op) bool { return op.Place == place && op.ID == f.ID })
			if !gone {
				stay = append(stay, ruleChange(f.ID))
			}
		}
	}
	var mine []netcfg.Change
	for _, c := range s.Journal {
		if c.Kind == KindRule || c.Kind == kindPolicy {
			mine = append(mine, c)
		}
	}
	return missing(mine, stay)
}

// ruleChange is the journal's entry for a rule. Identifiers are spelt one way
// there, whatever the registry has.
func ruleChange(id string) netcfg.Change {
	return netcfg.Change{Kind: KindRule, Value: strings.ToUpper(id)}
}

// missing are the changes that the others lack.
func missing(changes, others []netcfg.Change) []netcfg.Change {
	return slices.DeleteFunc(slices.Clone(changes), func(c netcfg.Change) bool { return slices.Contains(others, c) })
}

func appendChanges(ops []Op, kind OpKind, changes []netcfg.Change) []Op {
	if len(changes) == 0 {
		return ops
	}
	return append(ops, Op{Kind: kind, Changes: changes})
}

func ids(found []Found) []string {
	list := make([]string, len(found))
	for i, f := range found {
		list[i] = f.ID
	}
	return list
}
