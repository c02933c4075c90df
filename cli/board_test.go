package cli

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/causewayhq/causeway/proto/localv1"
)

// TestFrames holds what the full-screen view shows (testdata/frames). Run with
// UPDATE_GOLDEN=1 to write the files anew.
func TestFrames(t *testing.T) {
	a := &app{now: time.Now, env: Env{LookupEnv: noEnv}}
	coloured := styles{bold: "\x1b[1m", red: "\x1b[31m", yellow: "\x1b[33m", green: "\x1b[32m", reset: "\x1b[0m"}
	slow := func(status *localv1.Status) *localv1.Status {
		status.Agents[0].Latency = durationpb.New(170 * time.Millisecond)
		status.Agents[2].Tried = true
		return status
	}
	for name, test := range map[string]struct {
		board  board
		width  int
		height int
	}{
		"connected-80x24":  {board{status: fakeStatus("connected"), selected: "main.web.me.coder"}, 80, 24},
		"connected-40x10":  {board{status: fakeStatus("connected")}, 40, 10},
		"coloured-80x24":   {board{status: slow(fakeStatus("connected")), style: coloured}, 80, 24},
		"degraded-80x24":   {board{status: fakeStatus("degraded"), note: "copied myws.coder, if the terminal allows it"}, 80, 24},
		"degraded-40x10":   {board{status: fakeStatus("degraded")}, 40, 10},
		"failed-80x24":     {board{status: fakeStatus("failed")}, 80, 24},
		"down-80x24":       {board{status: fakeStatus("down")}, 80, 24},
		"waiting-80x24":    {board{status: fakeStatus("waiting")}, 80, 24},
		"signed-out-40x10": {board{status: fakeStatus("signed-out")}, 40, 10},
		"summary-80x24":    {board{status: fakeStatus("summary")}, 80, 24},
		"summary-40x10":    {board{status: fakeStatus("summary")}, 40, 10},
		"no-daemon-80x24":  {board{away: "connect to /run/x: there is no socket; remedy: start the daemon"}, 80, 24},
		"away-80x24":       {board{status: fakeStatus("connected"), away: "connect to /run/x: nobody serves the socket"}, 80, 24},
		"asking-40x10":     {board{}, 40, 10},
		"tiny-10x3":        {board{status: fakeStatus("degraded")}, 10, 3},
	} {
		t.Run(name, func(t *testing.T) {
			test.board.app = a
			if test.board.status.GetWorkspacesAsOf() != nil {
				test.board.status.WorkspacesAsOf = timestamppb.New(time.Now().Add(-3*time.Hour - time.Minute))
			}
			lines := test.board.render(test.width, test.height)
			if len(lines) != test.height {
				t.Errorf("%d lines, want %d", len(lines), test.height)
			}
			for i, line := range lines {
				if width := utf8.RuneCountInString(plain(line)); width >= test.width {
					t.Errorf("line %d is %d wide: %q", i, width, line)
				}
				if test.board.style.reset == "" && strings.Contains(line, "\x1b") {
					t.Errorf("line %d has colour: %q", i, line)
				}
			}
			golden(t, filepath.Join("testdata", "frames", name), strings.Join(lines, "\n")+"\n")
		})
	}
}

// plain is a line without its colours.
func plain(line string) string {
	for _, code := range []string{"\x1b[0m", "\x1b[1m", "\x1b[31m", "\x1b[32m", "\x1b[33m"} {
		line = strings.ReplaceAll(line, code, "")
	}
	return line
}

// TestFramesFit: at every size there are as many lines as fit, none too wide, and
// the selected agent is among them, if there is room for any.
func TestFramesFit(t *testing.T) {
	status := fakeStatus("degraded")
	for i := range 40 {
		status.Agents = append(status.Agents, agent(fmt.Sprintf("a%02d", i), "many", localv1.AgentStatus_DIRECT))
		status.Agents[len(status.Agents)-1].Names = []string{fmt.Sprintf("a%02d.many.me.coder", i)}
		status.Agents[len(status.Agents)-1].LastAnswer = timestamppb.Now()
	}
	b := board{app: &app{now: time.Now, env: Env{LookupEnv: noEnv}}, status: status}
	for width := 1; width <= 120; width += 7 {
		for height := 1; height <= 60; height += 1 + height/10 {
			for range 3 {
				lines := b.render(width, height)
				if len(lines) != height {
					t.Fatalf("%dx%d: %d lines", width, height, len(lines))
				}
				for _, line := range lines {
					if n := utf8.RuneCountInString(line); n >= max(width, 2) {
						t.Fatalf("%dx%d: %q is %d wide", width, height, line, n)
					}
				}
				if width >= 40 && height >= 10 && !strings.Contains(strings.Join(lines, "\n"), "> ● "+b.selected) && b.selected != "" {
					t.Fatalf("%dx%d: %s is not selected in\n%s", width, height, b.selected, strings.Join(lines, "\n"))
				}
				b = b.moved(14)
			}
			b = b.moved(-100)
			b.selected = ""
		}
	}
}

func TestSelection(t *testing.T) {
	b := board{status: fakeStatus("connected")}
	if b = b.moved(1); b.selected != "gpu.web.me.coder" {
		t.Errorf("down: %s", b.selected)
	}
	if b = b.moved(1).moved(1).moved(1); b.selected != "main.web.me.coder" {
		t.Errorf("at the end: %s", b.selected)
	}
	b.status = fakeStatus("connected")
	b.status.Agents = b.status.Agents[1:] // what is selected has gone
	if got := agentName(b.chosen()); got != "myws.coder" {
		t.Errorf("the next: %s", got)
	}
	if b = b.moved(-1); b.selected != "myws.coder" {
		t.Errorf("up: %s", b.selected)
	}
	if got := (board{status: fakeStatus("down")}).moved(1).chosen(); got != nil {
		t.Errorf("of none: %v", got)
	}
}

func TestClip(t *testing.T) {
	for _, test := range []struct {
		text  string
		width int
		want  string
	}{
		{"abc", 5, "abc"}, {"abc", 2, "ab"}, {"äöü", 2, "äö"}, {"", 0, ""}, {"abc", 0, ""},
		{"\x1b[31mabc\x1b[0m", 5, "\x1b[31mabc\x1b[0m"}, {"\x1b[31mabc\x1b[0m", 2, "\x1b[31mab\x1b[0m"},
	} {
		if got := clip(test.text, test.width); got != test.want {
			t.Errorf("clip(%q, %d) = %q, want %q", test.text, test.width, got, test.want)
		}
	}
}

func TestKeys(t *testing.T) {
	if got := strings.Join(keysOf([]byte("u\x1b[A\x1bOBjkcé\x03")), " "); got != "u up down down up c é q" {
		t.Errorf("keysOf() = %s", got)
	}
}
