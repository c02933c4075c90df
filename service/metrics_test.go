package service

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causewayhq/causeway/proto/localv1"
)

// expose is a strict reader of the text format, written from its description: a
// HELP and a TYPE line once before a metric's samples, which stand together, no
// sample twice, counters that end in _total, and a line feed at the end.
func expose(t *testing.T, text string) map[string]float64 {
	t.Helper()
	sample := regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*",?)+\})? (\S+)$`)
	if !strings.HasSuffix(text, "\n") || strings.Contains(text, "\n\n") || strings.Contains(text, "\r") {
		t.Error("lines do not end as they must")
	}
	found, kinds, helped, open := map[string]float64{}, map[string]string{}, map[string]bool{}, ""
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		words := strings.SplitN(line, " ", 4)
		switch {
		case strings.HasPrefix(line, "# HELP ") && len(words) == 4:
			if helped[words[2]] {
				t.Errorf("HELP twice: %s", line)
			}
			helped[words[2]], open = true, words[2]
		case strings.HasPrefix(line, "# TYPE ") && len(words) == 4:
			if kinds[words[2]] != "" || open != words[2] || !slices.Contains([]string{"counter", "gauge"}, words[3]) {
				t.Errorf("TYPE at a wrong place: %s", line)
			}
			if (words[3] == "counter") != strings.HasSuffix(words[2], "_total") {
				t.Errorf("a name that is not of its kind: %s", line)
			}
			kinds[words[2]] = words[3]
		default:
			parts := sample.FindStringSubmatch(line)
			if parts == nil || strings.Contains(parts[2], ",}") {
				t.Fatalf("not a sample: %q", line)
			}
			value, err := strconv.ParseFloat(parts[3], 64)
			if _, twice := found[parts[1]+parts[2]]; twice || err != nil || parts[1] != open || kinds[open] == "" {
				t.Errorf("a sample twice, without its head, or of no number: %q", line)
			}
			if !strings.HasPrefix(parts[1], "causeway_") {
				t.Errorf("a name of others: %q", line)
			}
			found[parts[1]+parts[2]] = value
		}
	}
	return found
}

// TestStrictReader: the reader itself finds what is wrong.
func TestStrictReader(t *testing.T) {
	good := &exposition{}
	good.one("x", "gauge", "Help.", 1.5, "a", "q\"\\\n\xff", "b", "2")
	if got := expose(t, good.text.String()); len(got) != 1 || got[`causeway_x{a="q\"\\\n`+"\uFFFD"+`",b="2"}`] != 1.5 {
		t.Errorf("read %v", got)
	}
}

func TestMetrics(t *testing.T) {
	r := newRig(t)
	r.withLogs()
	_, call, _ := r.start(t)
	read := func() map[string]float64 {
		t.Helper()
		answer, err := call.GetMetrics(t.Context(), &localv1.GetMetricsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		return expose(t, answer.GetText())
	}
	signedOut := read()
	if signedOut[`causeway_state{state="signed-out"}`] != 1 || signedOut[`causeway_state{state="connected"}`] != 0 || signedOut["causeway_wanted_up"] != 0 {
		t.Errorf("signed out: %v", signedOut)
	}
	for _, name := range []string{"causeway_start_time_seconds", "causeway_goroutines", "causeway_log_entries_total"} {
		if signedOut[name] < 1 {
			t.Errorf("%s is %v", name, signedOut[name])
		}
	}
	login(t, call)
	if _, err := call.Up(t.Context(), &localv1.UpRequest{}); err != nil {
		t.Fatal(err)
	}
	tunnel := r.tunnel(t)
	tunnel.set(&localv1.Status{
		State: localv1.State_CONNECTED, ControlConnected: true, CanaryOk: true,
		Agents: []*localv1.AgentStatus{
			{Id: []byte("a"), Path: localv1.AgentStatus_DIRECT, Reachable: true, RxBytes: 100, TxBytes: 10},
			{Id: []byte("b"), Path: localv1.AgentStatus_RELAYED, RxBytes: 5, TxBytes: 1}, {Id: []byte("c")},
		},
	})
	up := read()
	for name, want := range map[string]float64{
		`causeway_state{state="connected"}`: 1, "causeway_wanted_up": 1, "causeway_control_connected": 1, "causeway_names_answer": 1,
		`causeway_agents{path="direct"}`: 1, `causeway_agents{path="relayed"}`: 1, `causeway_agents{path="idle"}`: 1, "causeway_agents_reachable": 1,
		"causeway_received_bytes_total": 105, "causeway_sent_bytes_total": 11, "causeway_control_connections_total": 1, "causeway_problems": 0,
	} {
		if up[name] != want {
			t.Errorf("%s is %v, want %v", name, up[name], want)
		}
	}
}

// TestCounts: what the status forgets.
func TestCounts(t *testing.T) {
	var c counts
	agent := func(rx uint64) []*localv1.AgentStatus {
		return []*localv1.AgentStatus{{Id: []byte("a"), RxBytes: rx, TxBytes: rx}}
	}
	for _, status := range []*localv1.Status{
		nil,
		{ControlConnected: true, CanaryOk: true, Agents: agent(10)},
		{ControlConnected: true, CanaryOk: true, Agents: agent(15)},
		{CanaryOk: true, Agents: agent(15)},
		{ControlConnected: true, Agents: agent(4)}, // the peer was made anew
		{ControlConnected: true, CanaryOk: true},
		nil, // taken down, which is no failure of names
	} {
		c.note(status)
	}
	if got := fmt.Sprint(c.connections, c.darkenings, c.received, c.sent); got != "2 1 19 19" {
		t.Errorf("connections, failures, received, sent: %s", got)
	}
}

// TestCountsArePaced: a storm of changes is looked at once a second.
func TestCountsArePaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(newRig(t).config)
		tunnel := &countingTunnel{}
		s.tunnel = tunnel
		began := time.Now()
		done := make(chan struct{})
		go func() { s.keepCounts(t.Context()); close(done) }()
		for time.Since(began) < 10*time.Second {
			time.Sleep(time.Millisecond)
			s.changed.wake()
		}
		synctest.Wait()
		if tunnel.asked < 9 || tunnel.asked > 11 {
			t.Errorf("looked %d times in 10 s", tunnel.asked)
		}
	})
}

type countingTunnel struct {
	fakeTunnel
	asked int
}

func (t *countingTunnel) Brief() *localv1.Status {
	t.asked++
	return &localv1.Status{}
}
