package nrpt

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Rival is a rule of somebody else's that is in effect and takes names that
// are ours, or all names.
type Rival struct {
	Place Place
	Rule  Rule
	// Name is the one that takes ours: "." for all.
	Name string
}

// String names the rule by all that it says about itself.
func (r Rival) String() string {
	who := cmp.Or(r.Rule.DisplayName, r.Rule.Comment, "unnamed")
	what := "all names"
	if r.Name != catchAll {
		what = r.Name
	}
	text := fmt.Sprintf("rule %q sends %s to %s (%s, %s", who, what, cmp.Or(r.Rule.Servers, "no server"), r.Place, r.Rule.ID)
	if r.Rule.Comment != "" && r.Rule.Comment != who {
		text += ", " + r.Rule.Comment
	}
	return text + ")"
}

// rivals are the foreign rules in effect that compete with what is wanted. A
// more specific rule of ours wins over a catch-all; but who runs two programs
// that both claim names will want to know.
func rivals(s State, want Want) []Rival {
	place, found := Local, s.Local
	if s.PolicyExists {
		place, found = Policy, s.Policy
	}
	var list []Rival
	for _, f := range found {
		if s.owns(f) {
			continue
		}
		rule := decode(f.ID, f.Values)
		if i := slices.IndexFunc(rule.Names, func(name string) bool { return competes(name, want.names) }); i >= 0 {
			list = append(list, Rival{Place: place, Rule: rule, Name: rule.Names[i]})
		}
	}
	return list
}

// competes is whether a rule for the name takes wanted names: as catch-all, as
// the same suffix, or as one below it. One above loses against ours.
func competes(name string, wanted []string) bool {
	name = strings.ToLower(name)
	return name == catchAll || slices.ContainsFunc(wanted, func(w string) bool {
		return name == w || strings.HasSuffix(name, w)
	})
}

func (r *Rules) observe(state State, want Want) {
	var list []Rival
	if len(want.names) > 0 {
		list = rivals(state, want)
	}
	r.statusMu.Lock()
	defer r.statusMu.Unlock()
	r.rivals = list
}

// Rivals are the foreign rules that compete with ours, as of the last look:
// SetDNS, and each change while Watch runs. They are never touched.
func (r *Rules) Rivals() []Rival {
	r.statusMu.Lock()
	defer r.statusMu.Unlock()
	return slices.Clone(r.rivals)
}

// Trouble is what is wrong although SetDNS succeeded: rivals, by name, and
// programs that keep undoing what we write. Nil if nothing is.
func (r *Rules) Trouble() error {
	r.statusMu.Lock()
	defer r.statusMu.Unlock()
	var errs []error
	if !r.contested.IsZero() && time.Since(r.contested) < watchCalm {
		errs = append(errs, errContested)
	}
	for _, rival := range r.rivals {
		errs = append(errs, errors.New("another program's "+rival.String()))
	}
	return errors.Join(errs...)
}
