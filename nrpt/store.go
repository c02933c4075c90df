package nrpt

import (
	"context"
	"errors"

	"github.com/causewayhq/causeway/netcfg"
)

// Place is one of the two places that hold rules.
type Place int

// The places. While the key of Policy exists, even empty, Windows ignores Local.
const (
	Local  Place = iota // the DNS client's own
	Policy              // what group policy set
)

// String names the place as the user knows it.
func (p Place) String() string {
	if p == Policy {
		return "group policy"
	}
	return "local"
}

// ErrNoPolicy says that the key of Policy went away between looking and
// writing: look again.
var ErrNoPolicy = errors.New("group policy has no name resolution rules any more")

// Store is the two places of rules in a registry. Every method is one step that
// a crash leaves done or not done, except for Write, which is so for each value.
type Store interface {
	// List returns the identifiers of all rules in a place, anybody's, and
	// whether the place exists.
	List(place Place) (ids []string, exists bool, err error)
	// Read returns all values of a rule; fs.ErrNotExist if there is none.
	Read(place Place, id string) ([]Value, error)
	// Write makes a rule hold these values, set one by one in their order,
	// and no others. It makes the local place if it is missing, but never
	// that of group policy: then it returns ErrNoPolicy.
	Write(place Place, id string, values []Value) error
	// Delete removes a rule; there may be none.
	Delete(place Place, id string) error
	// Retire takes the place of group policy away in one step, with the rules
	// that it holds, and fails if there are others than these. It leaves the
	// rules aside, without effect, for Sweep to delete.
	Retire(ids []string) error
	// Retired is whether there is something for Sweep.
	Retired() (bool, error)
	// Sweep deletes what Retire left.
	Sweep() error
}

// System is what else of Windows has to do with rules.
type System interface {
	// NotifyPolicy has the system read the rules again.
	NotifyPolicy() error
	// FlushCache empties the system's cache of names.
	FlushCache() error
	// Watch calls changed once it sees changes, for those that came before, and
	// then after each change of either place, by whomever, and after group
	// policy was applied, until the context ends.
	Watch(ctx context.Context, changed func()) error
}

// Journal holds what may exist because of us. A *netcfg.Journal is one.
type Journal interface {
	Record(changes ...netcfg.Change) error
	Done(changes ...netcfg.Change) error
	Entries() []netcfg.Change
}

// Kinds of journal entries. The first has the identifier of a rule as its
// value. The second says that the key of group policy was there, and empty,
// before our rules came into it: it has to stay when they go.
const (
	KindRule   = "nrpt"
	kindPolicy = "nrpt-policy"
)

// foundEmpty is the one entry of kindPolicy.
var foundEmpty = netcfg.Change{Kind: kindPolicy, Value: "was empty"}
