package control

import (
	"errors"
	"fmt"
	"log/slog"

	"storj.io/drpc"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/tailnetv2"
)

// LevelCritical is the level of a mistake in this program, which no retry will
// mend.
const LevelCritical = slog.LevelError + 4

// errMisuse is wrapped when a loop is set up so that it can never work.
var errMisuse = errors.New("programming error")

// version is the lowest API version that has every call that the loop is set
// up to make (docs of the protocol, 1.2).
func (l *Loop) version() proto.Version {
	switch {
	case l.Workspaces != nil:
		return proto.V23
	case l.Telemetry != nil:
		return proto.V22
	default:
		return proto.V20
	}
}

// offer is what one connection has, by the version that was asked for. A
// client that is nil is not on offer.
type offer struct {
	coordination tailnetv2.Client20
	telemetry    tailnetv2.Client22
	updates      tailnetv2.Client23 // and resume tokens
}

func offered(conn drpc.Conn, version proto.Version) (o offer) {
	if version.Major != proto.V20.Major {
		return o
	}
	client := tailnetv2.NewDRPCTailnetClient(conn)
	o.coordination = client
	if version.Minor >= proto.V22.Minor {
		o.telemetry = client
	}
	if version.Minor >= proto.V23.Minor {
		o.updates = client
	}
	return o
}

// fits says whether every controller of the loop finds its client.
func (l *Loop) fits(o offer) error {
	missing := ""
	switch {
	case l.Coordinatee == nil:
		return fmt.Errorf("start controllers: there are none for the coordination: %w", errMisuse)
	case o.coordination == nil:
		missing = "coordination"
	case l.Telemetry != nil && o.telemetry == nil:
		missing = "telemetry"
	case l.Workspaces != nil && o.updates == nil:
		missing = "workspace updates"
	default:
		return nil
	}
	return fmt.Errorf("start controllers: version %s has no client for %s: %w", l.dialer.Version, missing, errMisuse)
}
