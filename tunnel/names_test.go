package tunnel

import (
	"bytes"
	"errors"
	"iter"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"github.com/causewayhq/causeway/workspace"
)

func TestNamesLeftOutAreSaidOnce(t *testing.T) {
	var text bytes.Buffer
	tunnel := New(Config{Logger: slog.New(slog.NewTextHandler(&text, nil)), Profile: profile(), StateDir: t.TempDir(), OS: &host{}})
	tunnel.saved = full(t)
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
		state, _, err := tunnel.saved.Workspaces.Apply(snapshot(step.agent, "myws"), true)
		if err != nil {
			t.Fatal(err)
		}
		tunnel.mu.Lock()
		tunnel.saved.Workspaces = state
		tunnel.publish()
		tunnel.mu.Unlock()
		said := text.String()
		if strings.Count(said, "name left out") != step.warns || !strings.Contains(said, step.what) {
			t.Errorf("%q: want %d warnings, got %q", step.agent, step.warns, said)
		}
	}
}

// TestResolveBeforeTheFirstSnapshot: who asks too early gets an answer.
func TestResolveBeforeTheFirstSnapshot(t *testing.T) {
	for _, name := range []string{"main.myws.me.coder", "main.myws", "fd60:627a:a42b::1", ""} {
		if _, err := (book{}).resolve(name); !errors.Is(err, ErrUnknownName) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// silent takes the names and answers nothing.
type silent struct{ answers }

func (silent) replace(string, int, iter.Seq2[string, netip.Addr]) {}
func (silent) change([]workspace.NameChange)                      {}
