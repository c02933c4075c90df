package control

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/workspace"
)

// journal keeps what is logged.
type journal struct {
	mu    sync.Mutex
	lines []slog.Record
}

func (j *journal) Enabled(context.Context, slog.Level) bool { return true }
func (j *journal) WithAttrs([]slog.Attr) slog.Handler       { return j }
func (j *journal) WithGroup(string) slog.Handler            { return j }
func (j *journal) Handle(_ context.Context, record slog.Record) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, record)
	return nil
}

// count says how many lines of at least this level hold the text.
func (j *journal) count(level slog.Level, text string) (n int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, record := range j.lines {
		line := record.Message
		record.Attrs(func(a slog.Attr) bool { line += " " + a.String(); return true })
		if record.Level >= level && strings.Contains(line, text) {
			n++
		}
	}
	return n
}

func TestLowestVersionIsAskedFor(t *testing.T) {
	updates := func(*workspace.State, workspace.Diff) error { return nil }
	tests := []struct {
		name string
		loop *Loop
		want string
	}{
		{"coordination", &Loop{}, "2.0"},
		{"agent", &Loop{Acks: true, RelayMap: func(proto.RelayMap) {}}, "2.0"},
		{"telemetry", &Loop{Telemetry: NewTelemetry(nil)}, "2.2"},
		{"updates", &Loop{Workspaces: updates}, "2.3"},
		{"both", &Loop{Workspaces: updates, Telemetry: NewTelemetry(nil)}, "2.3"},
		{"told otherwise", &Loop{Dialer: &Dialer{Version: proto.V23}}, "2.3"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				p, heard := &plane{}, &reports{}
				dialer := serve(t, p, newPipes())
				if test.loop.Dialer != nil {
					dialer.Version = test.loop.Dialer.Version
				}
				test.loop.Dialer, test.loop.Coordinatee, test.loop.Connected = dialer, &data{}, heard.hear
				stop := run(t, test.loop)
				time.Sleep(time.Second)
				stop()
				if dials := p.seen(); len(dials) != 1 || dials[0].query.Get("version") != test.want || heard.ups() != 1 {
					t.Errorf("%d dials, connected %d times, first asked for %q, want %q", len(dials), heard.ups(), dials[0].query.Get("version"), test.want)
				}
			})
		})
	}
}

// A loop that cannot work is a mistake in the program: said at the critical
// level, and tried again with growing waits like any other failure.
func TestMisuseIsCritical(t *testing.T) {
	updates := func(*workspace.State, workspace.Diff) error { return nil }
	tests := []struct {
		name    string
		version proto.Version
		loop    *Loop
		want    string
	}{
		{"no controllers", proto.Version{}, &Loop{}, "there are none"},
		{"telemetry at 2.0", proto.V20, &Loop{Coordinatee: &data{}, Telemetry: NewTelemetry(nil)}, "no client for telemetry"},
		{"updates at 2.2", proto.V22, &Loop{Coordinatee: &data{}, Workspaces: updates}, "no client for workspace updates"},
		{"another major", proto.Version{Major: 3}, &Loop{Coordinatee: &data{}}, "no client for coordination"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				p, heard, lines := &plane{}, &reports{}, &journal{}
				test.loop.Dialer, test.loop.Connected, test.loop.Logger = serve(t, p, newPipes()), heard.hear, slog.New(lines)
				test.loop.Dialer.Version = test.version
				stop := run(t, test.loop)
				time.Sleep(time.Minute)
				stop()
				dials := len(p.seen())
				if dials < 8 || dials > 30 {
					t.Errorf("%d dials in a minute", dials)
				}
				if n := lines.count(LevelCritical, test.want); n != dials {
					t.Errorf("%d critical lines for %d dials", n, dials)
				}
				if heard.ups() != 0 || LevelCritical <= slog.LevelError {
					t.Error("it counted as connected")
				}
			})
		})
	}
}
