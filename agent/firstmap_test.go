package agent

import (
	"log/slog"
	"net"
	"net/url"
	"path/filepath"
	"testing"

	"github.com/google/uuid"
	"tailscale.com/tailcfg"

	"github.com/causewayhq/causeway/agent/httpapi"
	"github.com/causewayhq/causeway/control"
	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/tailnet"
	"github.com/causewayhq/causeway/tailnet/userspace"
)

// deafNetwork takes what it is told, and nobody comes to it.
type deafNetwork struct {
	network // what is missing is not used
	relays  proto.RelayMap
}

func (n *deafNetwork) SetRelayMap(relays proto.RelayMap)                  { n.relays = relays }
func (n *deafNetwork) Identity() tailnet.Identity                         { return tailnet.Identity{} }
func (n *deafNetwork) Handshake([]uuid.UUID)                              {}
func (n *deafNetwork) HandleTCP(func(port uint16) (func(net.Conn), bool)) {}
func (n *deafNetwork) HandleUDP(func(port uint16) (func(net.Conn), bool)) {}
func (n *deafNetwork) Listen(uint16) (net.Listener, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err == nil {
		listener.Close()
	}
	return listener, err
}

// TestFirstRelayMapIsRewritten: the one of the manifest, before any other comes,
// leads to the access URL that the agent itself uses.
func TestFirstRelayMapIsRewritten(t *testing.T) {
	state, err := OpenState(filepath.Join(t.TempDir(), "state"))
	if err != nil {
		t.Fatal(err)
	}
	defer state.Close()
	made := &deafNetwork{}
	a := &agent{
		log: slog.New(slog.DiscardHandler), state: state, loop: &control.Loop{},
		config: Config{URL: &url.URL{Scheme: "https", Host: "inside.example.com:8443"}},
	}
	a.reports = newReports(a)
	if a.ssh, err = a.newSSH(); err != nil {
		t.Fatal(err)
	}
	a.terminals = a.newTerminals()
	a.side = a.newSide(&httpapi.Ring{})
	defer a.side.close(a.log)
	id := uuid.New()
	m := manifest{id: id, shape: shape{id: id}, relays: proto.RelayMap{
		DERPMap: &tailcfg.DERPMap{Regions: map[int]*tailcfg.DERPRegion{999: {RegionID: 999, Nodes: []*tailcfg.DERPNode{
			{Name: "999b", RegionID: 999, HostName: "outside.example.com", DERPPort: 443},
		}}}},
		Embedded: map[int]bool{999: true},
	}}
	a.open = func(userspace.Config) (network, error) { return made, nil }
	if err := a.install(m); err != nil {
		t.Fatal(err)
	}
	a.work.Wait()
	node := made.relays.DERPMap.Regions[999].Nodes[0]
	if node.HostName != "inside.example.com" || node.DERPPort != 8443 {
		t.Errorf("the relay is %s:%d", node.HostName, node.DERPPort)
	}
}
