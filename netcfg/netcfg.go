// Package netcfg holds the value types of the host state that the tunnel wants
// (addresses, routes, names) and the interface through which a platform brings
// the host to it. It decides nothing and touches nothing itself, except for the
// journal of host changes.
package netcfg

import (
	"context"
	"iter"
	"math"
	"net/netip"
	"slices"
	"strings"
)

// Config is the whole host state that the tunnel wants. The zero value wants
// nothing: applying it removes all that is ours.
type Config struct {
	// Interface is the name of the TUN device that the rest hangs on.
	Interface string
	// MTU of the interface, in bytes; 0 leaves it as it is.
	MTU int
	// Addresses on the interface, with their prefix lengths.
	Addresses []netip.Prefix
	// Routes into the interface, on-link.
	Routes []netip.Prefix
	// DNS is how the host resolves our names.
	DNS DNS
}

// DNS is split DNS for our suffixes only; never a global resolver.
type DNS struct {
	// Nameservers answer for the suffixes.
	Nameservers []netip.Addr
	// Suffixes without a trailing dot, lower case, for example "coder".
	Suffixes []string
	// Forward asks that the system itself asks the nameservers, also where that
	// means touching the configuration of another program. They answer for all
	// other names too then, from what Upstreams tells. A resolver that splits
	// DNS without a restart is used anyway.
	Forward bool
	// Hosts are all known names, for hosts that cannot do split DNS. Nil: none.
	Hosts *Hosts
}

// Hosts is a list of names that is only made where it is needed, for there may
// be tens of thousands. It is compared by identity: whoever wants the same
// names as before passes the same pointer.
type Hosts struct{ each iter.Seq[Host] }

// NewHosts takes what tells the names, in any order. It may be called at any
// time, from any goroutine, and tells the same each time.
func NewHosts(each iter.Seq[Host]) *Hosts { return &Hosts{each} }

// ListHosts is for few names.
func ListHosts(list ...Host) *Hosts { return NewHosts(slices.Values(list)) }

// List makes the list, sorted by name, and checks it, as Validate cannot without
// making it: nothing may be done with a list that comes with an error.
func (h *Hosts) List() ([]Host, error) {
	list, _, err := h.ListUpTo(math.MaxInt)
	return list, err
}

// ListUpTo is List for whoever can use no more than so many names: where there
// are more it makes no list, and costs no more than so many.
func (h *Hosts) ListUpTo(most int) (list []Host, all bool, err error) {
	if h == nil || h.each == nil {
		return nil, true, nil
	}
	for host := range h.each {
		if len(list) == most {
			return nil, false, nil
		}
		if err := host.validate(); err != nil {
			return nil, false, err
		}
		list = append(list, host)
	}
	slices.SortFunc(list, func(a, b Host) int { return strings.Compare(a.Name, b.Name) })
	return list, true, nil
}

// Host is one name, without a trailing dot, and its address.
type Host struct {
	Name string
	Addr netip.Addr
}

// Event is a change of the host that the tunnel must know of.
type Event int

// The events, each already debounced by the platform.
const (
	// NetworkChanged: default route, addresses or links changed.
	NetworkChanged Event = iota + 1
	// Woke: the host came back from sleep.
	Woke
	// Troubled: what Trouble tells is not what it was.
	Troubled
)

// OS is one operating system's way to reach a Config. It is safe for
// concurrent use; calls of Apply are serialised by the implementation.
type OS interface {
	// Apply brings the host to the wanted state: whole, idempotent, comparing
	// first, adding before deleting. It goes on after a failing part and
	// returns all errors joined.
	Apply(ctx context.Context, want Config) error
	// Watch calls changed for each event until the context ends, and puts
	// back whatever somebody else took away.
	Watch(ctx context.Context, changed func(Event)) error
	// Lookup resolves a name through the operating system's own resolver, as
	// an application would. It is the canary's eye.
	Lookup(ctx context.Context, name string) ([]netip.Addr, error)
	// Trouble is what is wrong on the host although Apply returned nil, such
	// as a file that cannot be written for now and is tried again; nil if
	// nothing is. It names the thing, returns at once, and mends by itself.
	Trouble() error
	// DNSMode names the mechanism in use, for status: "resolved", "hosts".
	DNSMode() string
	// Upstreams are the name servers of the host that are not ours, in its
	// order, for a forwarder; none unless forwarding is asked for and in use.
	Upstreams() []netip.Addr
	// Cleanup undoes what the journal and the ownership marks find, also
	// from an earlier process. It may be called twice in a row.
	Cleanup(ctx context.Context) error
	// Close releases handles; it leaves the host as it is.
	Close() error
}
