package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/agentv2"
	"github.com/causewayhq/causeway/tailnet/userspace"
)

// TestManifestShapesTheNetwork: what the manifest says of paths and relays, and who
// the agent is, reaches the network that is made for it.
func TestManifestShapesTheNetwork(t *testing.T) {
	state, err := OpenState(filepath.Join(t.TempDir(), "state"))
	if err != nil {
		t.Fatal(err)
	}
	defer state.Close()
	for _, direct := range []bool{false, true} {
		for _, websocket := range []bool{false, true} {
			t.Run(fmt.Sprintf("direct paths off %v, websockets forced %v", direct, websocket), func(t *testing.T) {
				var got userspace.Config
				enough := errors.New("enough")
				a := &agent{log: slog.New(slog.DiscardHandler), state: state, open: func(config userspace.Config) (network, error) {
					got = config
					return nil, enough
				}}
				a.reports = newReports(a)
				id := uuid.New()
				m, err := readManifest(&agentv2.Manifest{AgentId: id[:], DisableDirectConnections: direct, DerpForceWebsockets: websocket})
				if err != nil {
					t.Fatal(err)
				}
				if err := a.install(m); !errors.Is(err, enough) {
					t.Fatal(err)
				}
				if got.DirectDisabled != direct || got.ForceWebsocket != websocket || got.NodeID != proto.NodeIDFromUUID(id) || len(got.Addresses) != 2 {
					t.Errorf("direct off %v, websockets %v, node %v, addresses %v", got.DirectDisabled, got.ForceWebsocket, got.NodeID, got.Addresses)
				}
			})
		}
	}
}
