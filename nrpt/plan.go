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
	var stay []netcfg.Change
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
		w, d, ids := cover(place, s.ours(place), names, want.servers)
		writes, deletes = append(writes, w...), append(deletes, d...)
		stay = append(stay, changesOf(ids)...)
	}
	if note {
		stay = append(stay, foundEmpty)
	}
	ops = appendChanges(ops, OpRecord, missing(stay, s.Journal))
	ops = append(append(ops, writes...), deletes...)
	if retire {
		ops = append(ops, Op{Kind: OpRetire, IDs: ids(s.ours(Policy))})
	}
	if retire || s.Retired {
		ops = append(ops, Op{Kind: OpSweep})
	}
	ops = appendChanges(ops, OpForget, missing(s.mine(), stay))
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
	holds map[string]bool // the wanted names that are in it
	names []string        // will be in it
	gains bool            // some of them are not in it yet
}

// cover returns the operations for one place. A name stays in the rule where it
// is whenever there is room, so that writing a rule takes no name away that is
// wanted; where it has to move, the rule that gets it is written first. It also
// returns all rules that will be there.
func cover(place Place, ours []Found, names []string, servers string) (writes, deletes []Op, stay []string) {
	keepers, surplus := choose(ours, names)
	homeless := slices.Clone(names)
	for i := range keepers {
		k := &keepers[i]
		homeless = slices.DeleteFunc(homeless, func(name string) bool {
			stays := k.holds[name] && len(k.names) < maxNames
			if stays {
				k.names = append(k.names, name)
			}
			return stays
		})
	}
	for i := range keepers {
		k := &keepers[i]
		moved := min(maxNames-len(k.names), len(homeless))
		k.names, k.gains = append(k.names, homeless[:moved]...), moved > 0
		homeless = homeless[moved:]
		slices.Sort(k.names)
		stay = append(stay, k.found.ID)
	}
	for _, gains := range []bool{true, false} {
		for _, k := range keepers {
			if k.gains != gains {
				continue
			}
			if values := encode(k.names, servers); !same(values, k.found.Values) {
				writes = append(writes, Op{Kind: OpWrite, Place: place, ID: k.found.ID, Values: values})
			}
		}
	}
	for _, k := range surplus {
		deletes = append(deletes, Op{Kind: OpDelete, Place: place, ID: k.found.ID})
	}
	return writes, deletes, stay
}

// choose returns as many rules as the names need: those of ours that hold most
// of them, then new ones. The rest is surplus.
func choose(ours []Found, names []string) (keepers, surplus []keeper) {
	all := make([]keeper, len(ours))
	taken := map[string]bool{}
	for i, f := range ours {
		all[i] = keeper{found: f, holds: map[string]bool{}}
		taken[strings.ToUpper(f.ID)] = true
		for _, name := range decode(f.ID, f.Values).Names {
			if name = strings.ToLower(name); contains(names, name) {
				all[i].holds[name] = true
			}
		}
	}
	slices.SortStableFunc(all, func(a, b keeper) int {
		return cmp.Or(cmp.Compare(len(b.holds), len(a.holds)), cmp.Compare(a.found.ID, b.found.ID))
	})
	need := (len(names) + maxNames - 1) / maxNames
	old := min(need, len(all))
	keepers, surplus = all[:old:old], all[old:]
	for n := 0; len(keepers) < need; n++ {
		if id := ruleID(n); !taken[id] {
			keepers = append(keepers, keeper{found: Found{ID: id}})
		}
	}
	return keepers, surplus
}

// contains is whether a sorted list has the text.
func contains(sorted []string, text string) bool {
	_, found := slices.BinarySearch(sorted, text)
	return found
}

// mine are the entries of the journal that are this package's.
func (s State) mine() []netcfg.Change {
	return slices.DeleteFunc(slices.Clone(s.Journal), func(c netcfg.Change) bool { return c.Kind != KindRule && c.Kind != kindPolicy })
}

// changesOf are the entries of the journal for rules.
func changesOf(ids []string) []netcfg.Change {
	changes := make([]netcfg.Change, len(ids))
	for i, id := range ids {
		changes[i] = ruleChange(id)
	}
	return changes
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
