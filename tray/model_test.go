package tray

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/causewayhq/causeway/packaging/icons"
	"github.com/causewayhq/causeway/proto/localv1"
)

func lookup(items []item, key string) item {
	for _, i := range items {
		if i.key == key {
			return i
		}
		if found := lookup(i.children, key); found.key != "" {
			return found
		}
	}
	return item{}
}

func TestModelOfEachState(t *testing.T) {
	problem := []*localv1.Problem{{Code: "x", Cause: "it broke", Remedy: "mend it"}}
	for name, c := range map[string]struct {
		in             input
		icon           icon
		status, toggle string
		do             verb // of the toggle; nothing: disabled
	}{
		"searching":  {input{}, iconConnecting, "Looking for the Causeway service…", "Connect", nothing},
		"away":       {input{daemon: away, away: fault{"c", "r"}, status: &localv1.Status{State: localv1.State_CONNECTED}}, iconError, "The Causeway service does not answer", "Connect", nothing},
		"connected":  {input{daemon: present, status: &localv1.Status{State: localv1.State_CONNECTED, WantedUp: true, Url: "https://a.b"}}, iconConnected, "Connected to a.b", "Disconnect", disconnect},
		"starting":   {input{daemon: present, status: &localv1.Status{State: localv1.State_STARTING, WantedUp: true}}, iconConnecting, "Connecting…", "Disconnect", disconnect},
		"degraded":   {input{daemon: present, status: &localv1.Status{State: localv1.State_DEGRADED, WantedUp: true, Problems: problem}}, iconDegraded, "Degraded: connected, but not as it should be", "Disconnect", disconnect},
		"failed":     {input{daemon: present, status: &localv1.Status{State: localv1.State_FAILED, WantedUp: true}}, iconError, "Failed: not connected", "Disconnect", disconnect},
		"down":       {input{daemon: present, status: &localv1.Status{State: localv1.State_DOWN}}, iconOff, "Disconnected", "Connect", connect},
		"waits":      {input{daemon: present, status: &localv1.Status{State: localv1.State_DOWN, WantedUp: true, WaitsForLogin: true}}, iconOff, "Disconnected until its owner logs in", "Disconnect", disconnect},
		"signed out": {input{daemon: present, status: &localv1.Status{State: localv1.State_SIGNED_OUT}}, iconOff, "Not signed in", "Connect (sign in first)", nothing},
		"newer":      {input{daemon: present, status: &localv1.Status{State: 99}}, iconError, "The state is not known", "Connect", connect},
		"busy":       {input{daemon: present, busy: "Connecting", status: &localv1.Status{State: localv1.State_DOWN}}, iconOff, "Disconnected", "Connecting…", nothing},
		"of another, up": {
			input{daemon: present, status: &localv1.Status{State: localv1.State_CONNECTED, WantedUp: true, View: localv1.View_SUMMARY, Owner: "bob"}},
			iconConnected, "Connected by bob", "Connect (not while bob is connected)", nothing,
		},
		"of another, down, no profile": {
			input{daemon: present, status: &localv1.Status{State: localv1.State_DOWN, View: localv1.View_SUMMARY, Owner: "bob"}},
			iconOff, "Disconnected", "Connect", nothing,
		},
		"of another, down, own profile": {
			input{
				daemon: present, status: &localv1.Status{State: localv1.State_DOWN, View: localv1.View_SUMMARY, Owner: "bob"},
				profiles: []*localv1.Profile{{Name: "mine", SignedIn: true}},
			},
			iconOff, "Disconnected", "Connect", connect,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := build(c.in)
			toggle := lookup(got.items, "toggle")
			do := toggle.do.verb
			if toggle.disabled {
				do = nothing
			}
			if got.icon != c.icon || lookup(got.items, "status").label != c.status || toggle.label != c.toggle || do != c.do {
				t.Errorf("icon %s, status %q, toggle %q (%v)", got.icon, lookup(got.items, "status").label, toggle.label, do)
			}
			if !strings.HasPrefix(got.tooltip, "Causeway: ") {
				t.Errorf("tooltip %q", got.tooltip)
			}
			if len(c.in.status.GetProblems()) > 0 {
				if cause, remedy := lookup(got.items, "problem.0"), lookup(got.items, "problem.0.remedy"); cause.label != "⚠ it broke" || remedy.do.arg != "mend it" || remedy.hidden {
					t.Errorf("problem %+v, remedy %+v", cause, remedy)
				}
			}
		})
	}
}

func TestOwnProfileIsTheOneThatConnects(t *testing.T) {
	in := input{
		daemon: present, status: &localv1.Status{State: localv1.State_DOWN, View: localv1.View_SUMMARY, Owner: "bob"},
		profiles: []*localv1.Profile{{Name: "old"}, {Name: "mine", SignedIn: true}},
	}
	if do := lookup(build(in).items, "toggle").do; do != (action{connect, "mine"}) {
		t.Errorf("the toggle does %+v", do)
	}
	if !lookup(build(in).items, "signout").hidden {
		t.Error("there is a way to sign another user out")
	}
}

func TestMarksAndWords(t *testing.T) {
	ms := func(n int) *durationpb.Duration { return durationpb.New(time.Duration(n) * time.Millisecond) }
	for _, c := range []struct {
		agent *localv1.AgentStatus
		mark  mark
		words string
	}{
		{&localv1.AgentStatus{}, markIdle, "not in use"},
		{&localv1.AgentStatus{WorkspaceStatus: "stopped"}, markStopped, "stopped"},
		{&localv1.AgentStatus{WorkspaceStatus: "running", Tried: true}, markLost, "does not answer"},
		{&localv1.AgentStatus{WorkspaceStatus: "running", Tried: true, Offline: true}, markLost, "offline"},
		{&localv1.AgentStatus{WorkspaceStatus: "running", Offline: true}, markIdle, "offline"},
		{&localv1.AgentStatus{Reachable: true, Path: localv1.AgentStatus_DIRECT, Latency: durationpb.New(300 * time.Microsecond)}, markGood, "direct, < 1 ms"},
		{&localv1.AgentStatus{Reachable: true, Path: localv1.AgentStatus_DIRECT, Latency: ms(149)}, markGood, "direct, 150 ms"},
		{&localv1.AgentStatus{Reachable: true, Path: localv1.AgentStatus_DIRECT, Latency: ms(150)}, markSlow, "direct, 150 ms (slow)"},
		{&localv1.AgentStatus{Reachable: true, Path: localv1.AgentStatus_RELAYED, Relay: &localv1.Relay{Code: "fra"}, Latency: ms(33)}, markGood, "relayed by fra, 35 ms"},
		{&localv1.AgentStatus{Reachable: true, Path: localv1.AgentStatus_RELAYED, Relay: &localv1.Relay{RegionId: 7}}, markGood, "relayed by region 7"},
		{&localv1.AgentStatus{Reachable: true}, markGood, "reachable"},
	} {
		if got, words := markOf(c.agent), connection(c.agent); got != c.mark || words != c.words {
			t.Errorf("%v: %s %q, want %s %q", c.agent, got, words, c.mark, c.words)
		}
	}
}

func TestEveryPictureExists(t *testing.T) {
	for _, state := range []icon{iconConnected, iconConnecting, iconDegraded, iconOff, iconError} {
		for _, theme := range Themes {
			for _, end := range []string{"-44.png", ".ico"} {
				if icons.File(string(state)+"-"+theme+end) == nil {
					t.Errorf("there is no %s-%s%s", state, theme, end)
				}
			}
		}
		if icons.File(string(state)+"-template-36.png") == nil {
			t.Errorf("there is no template of %s", state)
		}
		if icons.File("mark-"+string(state)+".png") == nil {
			t.Errorf("there is no mark of %s", state)
		}
	}
	for _, m := range []mark{markGood, markSlow, markLost, markIdle, markStopped} {
		if icons.File(string(m)+".png") == nil || icons.File(string(m)+".ico") == nil {
			t.Errorf("there is no %s", m)
		}
	}
}

// TestDiffOnlyAppends: over any sequence of states, an item is added once, below
// an item that is there, and never anything but changed afterwards.
func TestDiffOnlyAppends(t *testing.T) {
	var s shown
	added := map[string]bool{"": true}
	states := []int{3, 40, 0, 500, 12, 40}
	for _, n := range states {
		status := &localv1.Status{State: localv1.State_CONNECTED, WantedUp: true}
		for i := range n {
			status.Agents = append(status.Agents, &localv1.AgentStatus{Workspace: fmt.Sprintf("w%03d", i), Names: []string{fmt.Sprintf("w%03d.x", i)}})
		}
		in := input{daemon: present, status: status}
		for _, c := range s.diff(build(in)) {
			if c.add == added[c.item.key] || !added[c.parent] && c.add {
				t.Fatalf("%d workspaces: change %+v, added before: %v", n, c, added[c.item.key])
			}
			added[c.item.key] = true
		}
		for i := range allWorkspaces {
			key := fmt.Sprintf("ws.%d", i)
			if visible := added[key] && !s.items[key].hidden; visible != (i < n) {
				t.Errorf("%d workspaces: line %d is visible: %v", n, i, visible)
			}
		}
		if again := s.diff(build(in)); len(again) != 0 {
			t.Errorf("%d workspaces: nothing has changed, and that is %d changes", n, len(again))
		}
	}
	if got := s.action("ws.39.copy"); got.arg != "w039.x" {
		t.Errorf("a click copies %q", got.arg)
	}
	if got := s.action("ws.60.copy"); got != (action{}) {
		t.Errorf("a hidden line does %+v", got)
	}
}

// TestLinesStayInPlace: in whatever order the daemon tells of workspaces, and
// however they do.
func TestLinesStayInPlace(t *testing.T) {
	b := &localv1.AgentStatus{Workspace: "b", Name: "main", Names: []string{"b.x"}}
	a2 := &localv1.AgentStatus{Workspace: "a", Name: "two", Names: []string{"two.a.x"}, Reachable: true}
	a1 := &localv1.AgentStatus{Workspace: "a", Name: "one", Names: []string{"one.a.x"}, Tried: true}
	for _, agents := range [][]*localv1.AgentStatus{{b, a2, a1}, {a1, b, a2}} {
		items := build(input{daemon: present, status: &localv1.Status{State: localv1.State_CONNECTED, Agents: agents}}).items
		for i, want := range []string{"one.a.x — ", "two.a.x — ", "b.x — "} {
			if got := lookup(items, fmt.Sprintf("ws.%d", i)).label; !strings.HasPrefix(got, want) {
				t.Errorf("line %d is %q, want %q", i, got, want)
			}
		}
	}
}

func TestPageOf(t *testing.T) {
	for url, want := range map[string]string{
		"https://coder.example.com":       "https://coder.example.com/@alice/my%20ws",
		"https://u:p@coder.example.com/x": "https://coder.example.com/x/@alice/my%20ws",
		"file:///etc/passwd":              "",
		"javascript:alert(1)":             "",
		"":                                "",
	} {
		got := pageOf(&localv1.Status{Url: url, User: "alice", WorkspacePages: true}, &localv1.AgentStatus{Workspace: "my ws"})
		if got != want {
			t.Errorf("%s: %q, want %q", url, got, want)
		}
	}
	if got := pageOf(&localv1.Status{Url: "https://x", User: "alice"}, &localv1.AgentStatus{Workspace: "w"}); got != "" {
		t.Errorf("of a deployment that has none: %q", got)
	}
}

func TestIsHost(t *testing.T) {
	for name, want := range map[string]bool{
		"main.myws.me.coder": true, "a": true, "": false, "-o": false, "a.-b": false, "a..b": false, "a b": false, "a;b": false, "a_b": false,
		"é.coder": false, strings.Repeat("a", 64): false, strings.Repeat("a.", 130): false,
	} {
		if isHost(name) != want {
			t.Errorf("isHost(%q) = %v", name, !want)
		}
	}
}

func FuzzCut(f *testing.F) {
	f.Add("plain", 10)
	f.Add("\u202eevil\x00\xff", 3)
	f.Fuzz(func(t *testing.T, text string, limit int) {
		limit = 2 + (limit&0xff+256)%256
		got := strings.TrimSuffix(strings.TrimPrefix(cut(text, limit), firstStrongIsolate), popIsolate)
		if len([]rune(got)) > limit || printable(got) != got {
			t.Errorf("cut(%q, %d) = %q", text, limit, got)
		}
	})
}
