package tunnel

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/causewayhq/causeway/workspace"
)

func TestNamesLeftOutAreSaidOnce(t *testing.T) {
	var text bytes.Buffer
	tunnel := New(Config{Logger: slog.New(slog.NewTextHandler(&text, nil)), Profile: profile(), StateDir: t.TempDir(), OS: &host{}})
	state := &workspace.State{}
	tunnel.saved = full(t)
	tunnel.saved.Workspaces = state
	tunnel.live = &live{answers: silent{}}
	for _, step := range []struct {
		agent string
		warns int
		what  string
	}{
		{"main", 0, ""},
		{"not a label", 1, "not a label"},
		{"not a label", 0, ""},
		{"nor this", 1, "nor this"},
		{"main", 0, ""},
		{"not a label", 1, "not a label"},
	} {
		text.Reset()
		if _, err := state.Apply(snapshot(step.agent, "myws"), true); err != nil {
			t.Fatal(err)
		}
		tunnel.mu.Lock()
		tunnel.publish()
		tunnel.mu.Unlock()
		said := text.String()
		if strings.Count(said, "name left out") != step.warns || !strings.Contains(said, step.what) {
			t.Errorf("%q: want %d warnings, got %q", step.agent, step.warns, said)
		}
	}
}

// silent takes the names and answers nothing.
type silent struct{ answers }

func (silent) publish(_, _ book) {}
