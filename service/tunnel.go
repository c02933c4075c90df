package service

import (
	"context"

	"github.com/causewayhq/causeway/client"
	"github.com/causewayhq/causeway/netcfg"
	"github.com/causewayhq/causeway/proto/localv1"
)

// Tunnel is one tunnel to one deployment, as the service sees it.
type Tunnel interface {
	// Run keeps the tunnel until the context ends, then takes what it put on
	// the host away again; its error says what could not be. An error before
	// that means that the tunnel cannot run, and what still works is left on the
	// host for the next one. It is called once.
	Run(ctx context.Context) error
	// Status is what the tunnel knows: everything of the message but the
	// fields about the user (url, user, owner_uid, wanted_up, version).
	Status() *localv1.Status
	// Brief is Status for those who look often: of the agents there are only
	// those with which something was exchanged, and of them only the counters.
	Brief() *localv1.Status
	// Changed is closed at the next change of the status. Take it before
	// Status, so that no change falls between the two.
	Changed() <-chan struct{}
	// Kick makes the tunnel try at once whatever it waits with.
	Kick()
	// SetToken goes on with another token of the same user. What runs stays as
	// it is, and a dial comes at once.
	SetToken(token client.Token)
	// Ping reaches an agent by name, short name or address.
	Ping(ctx context.Context, name string) (*localv1.PingReply, error)
	// Query answers one packed DNS message; nil for one that gets no answer.
	Query(message []byte) []byte
	// RepairNames empties the host's cache of names, unless told otherwise puts
	// back what they need, and says whether they answer now and what failed.
	RepairNames(ctx context.Context, flushOnly bool) (answers bool, err error)
	// MeasureNetwork asks the STUN servers and relays; nil without a data plane.
	MeasureNetwork(ctx context.Context) *localv1.NetworkReport
	// AskRelay asks the home relay now; asked is false if there is none.
	AskRelay(ctx context.Context) (asked bool, err error)
}

// Options of a tunnel are settings that can change while the daemon runs; a
// tunnel is made anew then.
type Options struct {
	Telemetry    bool
	DNSForwarder bool
}

// NewTunnel makes the tunnel of a profile on this host; Run starts it.
type NewTunnel func(Profile, Options, netcfg.OS) Tunnel
