package vpnmanager

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/causewayhq/causeway/internal/rig"
)

// TestSession is the whole life of a tunnel under a manager in another language.
func TestSession(t *testing.T) {
	needRig(t, true)
	h := newHost(t)
	s := h.run(within(t, 90*time.Second), "session")
	s.expect("header", told{"text": "codervpn tunnel 1.3\n"})
	s.expect("peers before start", told{"kind": "peers", "body": map[string]any{"workspaces": []any{}, "agents": []any{}, "gone_workspaces": []any{}, "gone_agents": []any{}}})
	s.expect("wake before start", told{"kind": "wake"})
	s.started("no url", "missing coder url")
	s.started("no token", "missing api token")
	s.started("bad url", `parse "http://host:port": invalid port ":port" after host`)
	s.started("away", "not reached yet")
	s.started("bad token", "get "+h.stack.URL+"/api/v2/users/me: HTTP 401")
	s.expect("state", told{"running": false})
	s.started("good", "")
	t.Logf("figure: %v s from start to its answer", s.next("started")["seconds"])

	agent := agentsOf(s.next("update"), "agents")["myws.coder."]
	if agent == nil || !reflect.DeepEqual(agent["fqdn"], []any{"myws.coder.", "main.myws.me.coder.", "main.myws.admin.coder."}) || agent["ping"] != nil {
		t.Errorf("first update: %v", agent)
	}
	addr := s.addressed()
	if !reflect.DeepEqual(agent["ips"], []any{addr}) {
		t.Errorf("addresses of the update %v, the name is %s", agent["ips"], addr)
	}
	s.expect("ssh", told{"exit": 0.0, "out": "agent", "err": ""})
	s.expect("ping", told{"exit": 0.0})
	if lines := h.changed(); len(lines) == 0 {
		t.Error("the running tunnel shows nowhere in the state that is compared")
	}
	s.started("the same", "")
	s.started("another", "tunnel is running already; stop it first")
	s.expect("wake", told{"kind": "wake"})
	s.expect("wake again", told{"kind": "wake"})
	s.expect("unknown", told{"kind": "", "rpc": true})
	if agentsOf(s.next("peers"), "agents")["myws.coder."] == nil {
		t.Error("asked for peers, the agent is not there")
	}
	measured := agentsOf(s.next("measured"), "agents")["myws.coder."]
	last, _ := measured["ping"].(map[string]any)
	if last == nil || last["p2p"] != true || last["latency"].(float64) <= 0 || last["derp"] == "" || measured["handshake"].(float64) < float64(time.Now().Add(-time.Minute).Unix()) {
		t.Errorf("measured: %v", measured)
	}

	s.next("add a workspace")
	_, err := h.stack.AddAgent(t.Context(), rig.Owner, "second", "main")
	must(t, err)
	s.goOn()
	s.next("added")
	s.addressed()
	s.next("delete the workspace")
	_, err = h.stack.Admin(t.Context(), "workspace", "delete", rig.Owner+"/second")
	must(t, err)
	s.goOn()
	gone := agentsOf(s.next("deleted"), "gone_agents")["second.coder."]
	if gone == nil || gone["handshake"] != nil || gone["ping"] != nil {
		t.Errorf("deleted: %v, want it with its names and nothing measured", gone)
	}
	logs := s.expect("logs", told{"critical": []any{"unknown request", "unknown request"}, "secret": false})
	if !strings.Contains(fmt.Sprint(logs["levels"]), "INFO") {
		t.Errorf("levels of the log records: %v", logs["levels"])
	}
	s.expect("stopped", told{"success": true, "error": "", "exit": 0.0, "stderr": "", "after": []any{}})
	s.done("")
	h.expectSame("after the stop")
}

// TestBrokenManagers break the protocol, hang up or are killed: the tunnel ends
// and the host is as before.
func TestBrokenManagers(t *testing.T) {
	needRig(t, true)
	h := newHost(t)
	t.Run("handshakes", func(t *testing.T) {
		s := h.run(within(t, 30*time.Second), "handshakes")
		for _, want := range []string{`role "tunnel", want "manager"`, "no version in common", "malformed header: 2 parts", "over 256 bytes", "malformed header: it begins with"} {
			line := s.expect("refused", told{"exit": managerFailed, "after": []any{}})
			if text := fmt.Sprint(line["stderr"]); !strings.Contains(text, "handshake failed") || !strings.Contains(text, want) && !strings.Contains(text, "4 parts") {
				t.Errorf("%s: %s, want %q", line["case"], text, want)
			}
		}
		s.done("")
	})
	t.Run("oversize", func(t *testing.T) {
		s := h.run(within(t, 30*time.Second), "oversize")
		s.started("good", "")
		line := s.expect("ended", told{"exit": managerFailed})
		if !strings.Contains(fmt.Sprint(line["stderr"]), "16777217 bytes, the limit is 16777216") {
			t.Errorf("%v", line)
		}
		s.done("")
		h.expectSame("after a message that is too long")
	})
	t.Run("hangup", func(t *testing.T) {
		s := h.run(within(t, 30*time.Second), "hangup")
		s.started("good", "")
		s.addressed()
		line := s.expect("ended", told{"exit": managerFailed})
		if !strings.Contains(fmt.Sprint(line["stderr"]), "manager hung up: unexpected EOF") {
			t.Errorf("%v", line)
		}
		s.done("")
		h.expectSame("after the hang-up")
	})
	t.Run("killed", func(t *testing.T) {
		s := h.run(within(t, 30*time.Second), "killed")
		s.started("good", "")
		s.addressed()
		s.done("signal: killed")
		h.expectSame("after the manager was killed")
	})
}

// TestOlderManagers speak 1.0 to 1.2, over descriptors named by the environment.
func TestOlderManagers(t *testing.T) {
	needRig(t, false)
	h := newHost(t)
	s := h.run(within(t, 90*time.Second), "versions")
	for _, version := range []string{"1.0", "1.1", "1.2"} {
		s.expect("version", told{"version": version, "start": true, "wake": "", "pings": version == "1.2", "stopped": true, "exit": 0.0})
	}
	s.done("")
	h.expectSame("after all of them")
}

// TestDeafManager reads nothing: the tunnel carries all the same, and a signal
// ends it.
func TestDeafManager(t *testing.T) {
	needRig(t, false)
	h := newHost(t)
	s := h.run(within(t, 60*time.Second), "deaf")
	s.started("good", "")
	s.addressed()
	s.expect("still there", told{"ssh": map[string]any{"exit": 0.0, "out": "agent", "err": ""}})
	s.expect("ended", told{"exit": 0.0, "prompt": true})
	s.done("")
	h.expectSame("after the signal")
}

// TestOneTunnelOnly: the service and a managed tunnel exclude each other, also
// while the service has nothing to do.
func TestOneTunnelOnly(t *testing.T) {
	needRig(t, false)
	h := newHost(t)
	must(t, h.stack.StartDaemon(within(t, 30*time.Second)))
	s := h.run(within(t, 30*time.Second), "refused")
	line := s.expect("refused", told{"header": "", "exit": stateUsed, "after": []any{}})
	if text := fmt.Sprint(line["stderr"]); !strings.Contains(text, "another daemon uses it") || !strings.Contains(text, "remedy: stop the other daemon") {
		t.Errorf("%s", text)
	}
	s.done("")
}

// TestManagersNetwork: the manager makes the interface and sets up addresses, routes
// and DNS as it is told, we touch nothing of the host. What the start request says
// of headers and device arrives with each request, websockets and relay included.
func TestManagersNetwork(t *testing.T) {
	needRig(t, false)
	h := newHost(t)
	s := h.run(within(t, 90*time.Second), "network")
	s.started("good", "")
	settings := s.next("settings")
	if len(settings) != 1+1 { // the event's name beside them
		t.Errorf("settings: %v", settings)
	}
	list, _ := settings["requests"].([]any)
	if len(list) == 0 {
		t.Fatal("the manager was not asked to set up anything")
	}
	last, _ := list[len(list)-1].(map[string]any)
	if last["mtu"] != 1280.0 || last["domain"] != "coder" || !reflect.DeepEqual(last["servers"], []any{"fd60:627a:a42b::53"}) || !reflect.DeepEqual(last["match"], []any{"coder"}) ||
		!strings.Contains(fmt.Sprint(last["routes"]), "fd60:627a:a42b::/48") || !strings.Contains(fmt.Sprint(last["addrs"]), "/128") {
		t.Errorf("settings: %v", last)
	}
	for i := 1; i < len(list); i++ {
		if reflect.DeepEqual(list[i], list[i-1]) {
			t.Errorf("the same settings again: %v", list[i])
		}
	}
	agent := agentsOf(s.next("update"), "agents")["myws.coder."]
	line := s.next("answer")
	if ips, _ := agent["ips"].([]any); len(ips) != 1 || !reflect.DeepEqual(line["addresses"], ips) {
		t.Errorf("the resolver says %v, the update %v", line["addresses"], agent)
	}
	s.expect("ssh", told{"exit": 0.0, "out": "agent", "err": ""})
	for _, changed := range h.changed() {
		if strings.Contains(changed, "causeway0") || strings.Contains(changed, "hosts") || strings.Contains(changed, "nameserver") {
			t.Errorf("changed on the host, but not by the manager: %s", changed)
		}
	}
	requests, _ := s.next("requests")["list"].([]any)
	kinds := map[string]int{}
	for _, entry := range requests {
		request := entry.(map[string]any)
		if !reflect.DeepEqual(request["rig"], []any{"yes", "twice"}) || request["telemetry"] != `{"device_id":"the-device","device_os":"Linux","coder_desktop_version":"0.0.9"}` {
			t.Errorf("without what the start request says: %v", request)
		}
		kinds[fmt.Sprintf("%v upgrade=%v", request["path"], request["upgrade"])]++
	}
	for _, kind := range []string{"/api/v2/users/me upgrade=", "/api/v2/tailnet upgrade=websocket", "/derp upgrade=derp"} {
		if kinds[kind] == 0 {
			t.Errorf("no request %q among %v", kind, kinds)
		}
	}
	s.expect("stopped", told{"success": true, "error": "", "exit": 0.0, "stderr": "", "after": []any{}})
	s.done("")
	h.expectSame("after the stop")
}
