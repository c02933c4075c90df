package cli

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

// TestLeaveBy: an address that can be reached another way is not reached when the
// tunnel's device is not there.
func TestLeaveBy(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	addr := netip.MustParseAddrPort(listener.Addr().String())
	port := &agentPort{app: &app{}, agent: &localv1.AgentStatus{}, addr: addr.Addr(), port: addr.Port(), what: "ask"}
	for device, want := range map[string]bool{"": true, "lo": true, "absent0": false} {
		port.device = device
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		conn, err := port.dial(ctx)
		cancel()
		if err == nil {
			conn.Close()
		}
		if (err == nil) != want {
			t.Errorf("%q: %v", device, err)
		}
		var known *localapi.Error
		if !want && (!errors.As(err, &known) || !strings.Contains(known.Cause, "leave by "+device)) {
			t.Errorf("%q: %v", device, err)
		}
	}
}
