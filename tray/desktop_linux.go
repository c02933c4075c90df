package tray

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/causewayhq/causeway/localapi"
)

// busName is owned by the one tray of a session.
const busName = "org.causeway.Tray"

// busLimit is for calls of other programs of the session.
const busLimit = 3 * time.Second

// surroundings are the desktop by way of its session bus.
type surroundings struct {
	bus    *dbus.Conn
	logger *slog.Logger
	say    func(string)

	mu     sync.Mutex
	notes  map[string]uint32 // the last notification of each topic
	markup *bool             // whether notifications are written in markup; nil: not asked yet
}

// openDesktop connects to the session and makes this process its one tray. Ended
// is called when the session ends.
func openDesktop(ctx context.Context, ended func(), o Options) (*surroundings, error) {
	bus, err := dbus.ConnectSessionBus()
	if err != nil {
		return nil, &localapi.Error{
			Code:   localapi.CodeGeneric,
			Cause:  fmt.Sprintf("connect to the session bus: %v", err),
			Remedy: "start it inside a desktop session; without one: causeway status --watch",
		}
	}
	reply, err := bus.RequestName(busName, dbus.NameFlagDoNotQueue)
	if err == nil && reply != dbus.RequestNameReplyPrimaryOwner {
		err = ErrRunning
	}
	if err != nil {
		bus.Close()
		return nil, fmt.Errorf("take the name %s: %w", busName, err)
	}
	context.AfterFunc(bus.Context(), ended)
	return &surroundings{bus: bus, logger: o.Logger, say: o.Say, notes: map[string]uint32{}}, nil
}

func (s *surroundings) close() { s.bus.Close() }
