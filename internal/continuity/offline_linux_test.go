package continuity

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/causewayhq/causeway/internal/rig"
)

// firstAnswerLimit is from the start of the daemon to the first right answer.
const firstAnswerLimit = time.Second

// TestStartWithoutServer starts the daemon while the control plane is away:
// dropped, not refused.
func TestStartWithoutServer(t *testing.T) {
	if sample(t) {
		t.Skip("not in the sample: make continuity runs it")
	}
	h := build(t)
	for _, start := range []struct {
		name   string
		signal string
		relay  bool // reachable
	}{{"AfterStop", "TERM", true}, {"AfterKill", "KILL", true}, {"AfterKillWithoutRelay", "KILL", false}} {
		t.Run(start.name, func(t *testing.T) {
			h.reachDirectly(t)
			must(t, h.Net.Server.Cut(t.Context(), everywhere...))
			h.isCut = true
			defer h.healed(t)
			if !start.relay {
				must(t, h.relay.Cut(t.Context(), everywhere...))
				defer func() { must(t, h.relay.Heal(context.WithoutCancel(t.Context()))) }()
			}
			must(t, h.endDaemon(within(t, 30*time.Second), start.signal))
			hold(t, 3*time.Second) // for the age to be seen
			h.startAlone(t)
			h.healed(t)
			h.reconnected(t, "the end of the cut")
		})
	}
}

// TestStartWithoutAPI starts the daemon while only the Tailnet API answers: what
// it would ask the REST API about itself it knows already.
func TestStartWithoutAPI(t *testing.T) {
	if sample(t) {
		t.Skip("not in the sample: make continuity runs it")
	}
	h := build(t)
	h.reachDirectly(t)
	must(t, h.endDaemon(within(t, 30*time.Second), "TERM"))
	hole := h.openHole(t)
	h.startDaemon(t)
	h.reconnected(t, "the start")
	must(t, rig.Eventually(within(t, 10*time.Second), func() error {
		if !strings.Contains(hole.Log(), "swallowed") {
			return fmt.Errorf("the daemon has not asked the API: %s", hole.Log())
		}
		return nil
	}))
	h.reachDirectly(t)
	figure(t, "%d requests to the API were swallowed", strings.Count(hole.Log(), "swallowed"))
}

// startAlone starts the daemon and holds what it does without the server.
func (h *house) startAlone(t *testing.T) {
	t.Helper()
	began := h.startDaemon(t)
	_, err := h.Client(within(t, 30*time.Second), h.Path("probe"), "tcp-check", rig.Name+":"+echoPort, "25s")
	must(t, err)
	figure(t, "TCP to the agent %.2f s after the start of the daemon", time.Since(began).Seconds())
	h.reachDirectly(t)
	figure(t, "directly reached after %.2f s", time.Since(began).Seconds())
	h.saysFromCache(t)
	addr, err := h.addressOf(t.Context(), spareName)
	must(t, err)
	if addr == h.addr || !strings.HasPrefix(addr, "fd60:627a:a42b:") {
		t.Errorf("%s is %s", spareName, addr)
	}
}

// startDaemon starts it and holds it to the time of the first answer.
func (h *house) startDaemon(t *testing.T) (began time.Time) {
	t.Helper()
	asking, err := h.Start("first-"+strconv.FormatInt(time.Now().UnixNano(), 36), h.On(t.Context(), h.Path("probe"), "first-answer", rig.Name, "20s"))
	must(t, err)
	must(t, asking.WaitFor(within(t, 10*time.Second), "asking"))
	began = time.Now()
	must(t, h.StartDaemon(within(t, 20*time.Second)))
	must(t, asking.WaitFor(within(t, 20*time.Second), h.addr))
	var at int64
	_, err = fmt.Sscanf(strings.TrimPrefix(asking.Log(), "asking\n"), "%d", &at)
	must(t, err)
	took := time.Unix(0, at).Sub(began)
	figure(t, "names answer %.2f s after the start of the daemon, bound %.0f s", took.Seconds(), firstAnswerLimit.Seconds())
	if took > firstAnswerLimit {
		t.Errorf("first answer after %v, the bound is %v", took, firstAnswerLimit)
	}
	return began
}

// reachDirectly waits for an answer over the direct path.
func (h *house) reachDirectly(t *testing.T) {
	t.Helper()
	_, err := h.Causeway(within(t, 40*time.Second), "ping", rig.Name, "--until-direct", "-c", "200")
	must(t, err)
}

var cacheLine = regexp.MustCompile(`workspaces +from cache, (.+) old`)

func (h *house) saysFromCache(t *testing.T) {
	t.Helper()
	text, _ := h.Causeway(within(t, 10*time.Second), "status") // degraded: not 0
	line := cacheLine.FindStringSubmatch(text)
	if line == nil {
		t.Errorf("the status does not say that it is from the cache, and how old:\n%s", text)
		return
	}
	var status struct {
		FromCache bool `json:"from_cache"`
		Age       int  `json:"cache_age_seconds"`
	}
	cmd := h.On(within(t, 10*time.Second), h.Path("causeway"), "status", "--json")
	output, _ := cmd.Output()
	must(t, json.Unmarshal(output, &status))
	if !status.FromCache || status.Age < 3 || status.Age > 120 {
		t.Errorf("status in JSON: %+v, want from the cache, 3 to 120 s old", status)
	}
	figure(t, "status: workspaces from cache, %s old", line[1])
}

// reconnected waits until the control plane is there again.
func (h *house) reconnected(t *testing.T, after string) {
	t.Helper()
	began := time.Now()
	must(t, rig.Eventually(within(t, pause+dial+10*time.Second), func() error {
		output, _ := h.On(t.Context(), h.Path("causeway"), "status", "--json").Output()
		var status struct {
			ControlConnected bool `json:"control_connected"`
		}
		if err := json.Unmarshal(output, &status); err != nil || !status.ControlConnected {
			return fmt.Errorf("not connected: %w: %s", err, output)
		}
		return nil
	}))
	took, allowed := time.Since(began), redial(0)
	figure(t, "control plane connected %.2f s after %s, bound %v", took.Seconds(), after, allowed)
	if took > allowed.limit+reach {
		t.Errorf("connected after %v, the bound is %v", took, allowed)
	}
}
