package tunnel

import (
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/causewayhq/causeway/proto/tailnetv2"
	"github.com/causewayhq/causeway/tailnet"
)

// secrets are what no event may hold: where things are, and what they are called.
var secrets = []string{"192.0.2.7", "stun.secret.test", "relay.secret.test", "cert.secret.test", "198.51.100.9", "2001:db8::9", "plane.test", "myws", "main", "alice"}

// storied runs a tunnel through everything that telemetry tells of, and gives
// what the control plane heard.
func storied(t *testing.T, on bool) (events []*tailnetv2.TelemetryEvent) {
	t.Helper()
	p := barePlane()
	network := servePipes(t, p)
	r := newBubbleRig(t, p, network, t.TempDir())
	r.config.Telemetry, r.config.Version = on, "v1.2.3"
	r.start()
	r.waitState(Connected)
	agent := idOf("main")
	show := func(peer tailnet.PeerStatus) {
		e := r.engine()
		e.do(func() { e.peers[agent] = peer })
		time.Sleep(probeEvery)
		synctest.Wait()
	}
	began := time.Now()
	e := r.engine()
	e.do(func() {
		e.peers[agent] = tailnet.PeerStatus{LastHandshake: began, Setup: 30 * time.Millisecond, RelayRegion: 999, Active: true}
	})
	e.began()
	synctest.Wait()
	direct := tailnet.PeerStatus{LastHandshake: began, Direct: true, Endpoint: netip.MustParseAddrPort("192.0.2.7:41641"), Active: true}
	show(direct)
	show(direct) // no news
	show(tailnet.PeerStatus{LastHandshake: began, RelayRegion: 999, Active: true})
	if _, err := r.Ping(t.Context(), "main.myws"); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	p.set(func(p *plane) { events = p.events })
	return events
}

func TestTelemetryIsOffUnlessSwitchedOn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		if events := storied(t, false); len(events) != 0 {
			t.Errorf("%d events", len(events))
		}
	})
	if newTeller(false, nil, "", idOf("x")).on() != nil {
		t.Error("the control loop has a carrier")
	}
}

func TestTelemetryEvents(t *testing.T) {
	bubble(t, func(t *testing.T) {
		events := storied(t, true)
		if len(events) != 5 {
			t.Fatalf("%d events: %v", len(events), events)
		}
		ids := map[string]bool{}
		for i, event := range events {
			ids[string(event.GetId())] = true
			if len(event.GetId()) != 16 || event.GetApplication() != application || event.GetClientVersion() != "v1.2.3" || event.GetHomeDerp() != 999 ||
				event.GetClientType() != tailnetv2.TelemetryEvent_CLI || event.GetNodeIdSelf() == 0 || event.GetNodeIdRemote() == 0 ||
				event.GetDerpMap() == nil || event.GetLatestNetcheck().GetPreferredDERP() != 999 || event.GetConnectionSetup().AsDuration() != 30*time.Millisecond {
				t.Errorf("event %d: %v", i, event)
			}
		}
		if len(ids) != len(events) {
			t.Error("events share an id")
		}
		first, direct, relayed, ping, last := events[0], events[1], events[2], events[3], events[4]
		if first.GetStatus() != tailnetv2.TelemetryEvent_CONNECTED || first.GetP2PEndpoint() != nil || first.GetConnectionAge().AsDuration() != 0 {
			t.Errorf("first reachable: %v", first)
		}
		if end := direct.GetP2PEndpoint(); end.GetPort() != 41641 || len(end.GetHash()) != 64 || end.GetFields().GetVersion() != 4 || direct.GetP2PSetup() == nil {
			t.Errorf("direct: %v", direct)
		}
		if relayed.GetP2PEndpoint() != nil || relayed.GetConnectionAge().AsDuration() == 0 {
			t.Errorf("relayed again: %v", relayed)
		}
		if ping.GetDerpLatency().AsDuration() != 3*time.Millisecond || ping.GetP2PLatency() != nil {
			t.Errorf("ping: %v", ping)
		}
		if last.GetStatus() != tailnetv2.TelemetryEvent_DISCONNECTED {
			t.Errorf("at the end: %v", last)
		}
	})
}

func TestTelemetryHoldsNothingRaw(t *testing.T) {
	around := surroundings{home: 1, relays: full(t).Relays.RelayMap}
	node := around.relays.Regions[1].Nodes[0]
	node.HostName, node.CertName, node.IPv4, node.IPv6, node.STUNTestIP = "relay.secret.test", "cert.secret.test", "198.51.100.9", "2001:db8::9", "198.51.100.9"
	tell := newTeller(true, nil, "v1", idOf("self"))
	for _, status := range []tailnetv2.TelemetryEvent_Status{tailnetv2.TelemetryEvent_CONNECTED, tailnetv2.TelemetryEvent_DISCONNECTED} {
		event := tell.event(idOf("main"), contact{direct: 1, last: tailnet.PeerStatus{Direct: true, Endpoint: netip.MustParseAddrPort("192.0.2.7:41641")}}, status, around)
		text, err := protojson.Marshal(event)
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range secrets {
			if strings.Contains(string(text), secret) {
				t.Errorf("%s in %s", secret, text)
			}
		}
		if len(event.GetDerpMap().GetRegions()[1].GetNodes()[0].GetHostName()) != 64 {
			t.Errorf("no hash in %s", text)
		}
	}
	if node.HostName != "relay.secret.test" {
		t.Error("the map itself was changed")
	}
	bubble(t, func(t *testing.T) {
		for _, event := range storied(t, true) {
			text, _ := protojson.Marshal(event)
			for _, secret := range secrets {
				if strings.Contains(string(text), secret) {
					t.Errorf("%s in %s", secret, text)
				}
			}
		}
	})
}
