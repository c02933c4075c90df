package e2e

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/causewayhq/causeway/internal/rig"
	"github.com/causewayhq/causeway/internal/testnet"
)

// TestAgentPorts uses what the agent serves besides SSH, through the daemon's
// tunnel: speed tests on port 3 and the HTTP API on port 4.
func TestAgentPorts(t *testing.T) {
	for name, cell := range map[string]struct {
		client, agent testnet.NAT
		path          string
	}{
		"Direct":  {testnet.Public, testnet.Public, "direct"},
		"Relayed": {testnet.HardNAT, testnet.HardNAT, "relayed"},
	} {
		t.Run(name, func(t *testing.T) {
			needRig(t, name == "Direct")
			stack := newStack(t, cell.client, cell.agent)
			upAndReach(t, stack)
			if cell.path == "direct" {
				_, err := stack.Causeway(within(t, time.Minute), "ping", rig.Name, "--until-direct")
				must(t, err)
			}
			t.Run("ports", func(t *testing.T) { listsPorts(t, stack) })
			t.Run("http", func(t *testing.T) { asksTheAgent(t, stack) })
			for _, direction := range []string{"down", "up"} {
				t.Run(direction, func(t *testing.T) { testsSpeed(t, stack, direction, cell.path) })
			}
		})
	}
}

func listsPorts(t *testing.T, stack *rig.Stack) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	sink := stack.Net.Agent.Command(ctx, stack.Path("probe"), "tcp-sink", "127.0.0.1:9110")
	must(t, sink.Start())
	defer func() {
		stop()
		_ = sink.Wait() // it was killed
	}()
	must(t, rig.Eventually(within(t, 20*time.Second), func() error {
		text, err := stack.Causeway(within(t, 20*time.Second), "ports", rig.Workspace, "--json")
		if err != nil {
			return err
		}
		var out struct {
			Ports []struct {
				Port    uint16 `json:"port"`
				Process string `json:"process_name"`
			} `json:"ports"`
		}
		must(t, json.Unmarshal([]byte(text), &out))
		for _, port := range out.Ports {
			if port.Port == 9110 && port.Process == "probe" {
				return nil
			}
		}
		return &missing{text}
	}))
}

// missing is an answer without what was looked for.
type missing struct{ answer string }

func (m *missing) Error() string { return "it is not in " + m.answer }

// asksTheAgent asks as a person with curl does, by the agent's name and address.
func asksTheAgent(t *testing.T, stack *rig.Stack) {
	address, err := stack.Client(t.Context(), "getent", "ahostsv6", rig.Name)
	must(t, err)
	for _, host := range []string{rig.Name, "[" + firstWord(address) + "]"} {
		curl := func(args ...string) string {
			t.Helper()
			text, err := stack.Client(within(t, 30*time.Second), "curl", append([]string{"-gsS", "--noproxy", "*"}, args...)...)
			must(t, err)
			return text
		}
		base := "http://" + host + ":4"
		for path, want := range map[string]string{
			"/": "Hello", "/api/v0/netcheck": `"udp":`, "/debug/logs": "network started", "/debug/prometheus": "causeway_agent_control_connected 1", "/debug/manifest": `"agent_name"`,
		} {
			if got := curl(base + path); !strings.Contains(got, want) {
				t.Errorf("%s%s: %q, want %q", base, path, got, want)
			}
		}
		list := []string{"-H", "Content-Type: application/json", "-d", `{"relativity":"root","path":["etc"]}`, base + "/api/v0/list-directory"}
		if got := curl(list...); !strings.Contains(got, `"absolute_path_string":"/etc/hosts"`) {
			t.Errorf("listing: %.500q", got)
		}
		if got := curl(append([]string{"-H", "Origin: https://evil.example.com"}, list...)...); !strings.Contains(got, "Pages in browsers cannot do this") {
			t.Errorf("a page gets %.500q", got)
		}
		if got := curl("-H", "Host: evil.example.com", base+"/debug/logs"); !strings.Contains(got, "Ask by the address of the agent") {
			t.Errorf("a page with a name that means the agent gets %.500q", got)
		}
	}
}

func testsSpeed(t *testing.T, stack *rig.Stack, direction, path string) {
	text, err := stack.Causeway(within(t, time.Minute), "speedtest", rig.Workspace, "--direction", direction, "--duration", "2s", "--json")
	must(t, err)
	var out struct {
		Path  string `json:"path"`
		Total struct {
			Mbits float64 `json:"mbits_per_second"`
			Bytes int64   `json:"bytes"`
			End   float64 `json:"end_seconds"`
		} `json:"total"`
	}
	must(t, json.Unmarshal([]byte(text), &out))
	if out.Path != path || out.Total.Bytes < 1<<20 || out.Total.End < 1.8 || out.Total.End > 13 {
		t.Errorf("got %s", text)
	}
	figure(t, "%s, %s: %.0f Mbit/s", direction, path, out.Total.Mbits)
}
