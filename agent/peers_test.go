//go:build unix

package agent

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
)

// peering is a network that says whom it has sessions with.
type peering struct {
	network
	mu     sync.Mutex
	active []uuid.UUID
	shaken []uuid.UUID
}

func (p *peering) ActivePeers() []uuid.UUID {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.active)
}

func (p *peering) set(active ...uuid.UUID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.active = active
}

func (p *peering) Handshake(ids []uuid.UUID) { p.shaken = append(p.shaken, ids...) }

// keeper is an agent as far as keeping peers goes.
func keeper(t *testing.T, directory string, log *strings.Builder) (*agent, *peering) {
	t.Helper()
	state, err := OpenState(directory)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { state.Close() })
	p := &peering{}
	return &agent{state: state, network: p, log: slog.New(slog.NewTextHandler(log, nil)), began: make(chan struct{}, 1)}, p
}

// TestPeersAreKept: whom the agent has sessions with is written down as they
// begin, a crowd in two writes and at most 256 of it, and the next process
// shakes hands with them.
func TestPeersAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		directory := t.TempDir()
		path := filepath.Join(directory, peersName)
		written := func() (peers []uuid.UUID) {
			t.Helper()
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(content, &peers); err != nil {
				t.Fatal(err)
			}
			return peers
		}
		var log strings.Builder
		a, p := keeper(t, directory, &log)
		a.greetPeers(p)
		if len(p.shaken) != 0 {
			t.Errorf("the first process of all shakes hands with %v", p.shaken)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go a.keepPeers(ctx)
		join := func() {
			p.mu.Lock()
			p.active = append(p.active, uuid.New())
			p.mu.Unlock()
			a.sessionBegan()
		}
		join()
		synctest.Wait()
		if got := written(); !slices.Equal(got, p.ActivePeers()) {
			t.Errorf("kept %v, want %v", got, p.active)
		}
		for range maxKeptPeers {
			join()
			synctest.Wait()
		}
		if got := written(); len(got) != 1 {
			t.Errorf("%d peers are kept at once, want a pause between two writes", len(got))
		}
		time.Sleep(peersPause)
		synctest.Wait()
		got := written()
		if len(got) != maxKeptPeers {
			t.Errorf("%d peers are kept, want %d", len(got), maxKeptPeers)
		}
		next := &peering{}
		a.greetPeers(next)
		if !slices.Equal(next.shaken, got) || log.Len() > 0 {
			t.Errorf("the next process shakes hands with %d peers; log: %s", len(next.shaken), &log)
		}
	})
}

// TestPeersOfALoop: an agent that is killed again before all peers of the time
// before have come does not forget them; one that lives on does.
func TestPeersOfALoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		early, late, later := uuid.New(), uuid.New(), uuid.New()
		var log strings.Builder
		a, p := keeper(t, t.TempDir(), &log)
		if err := a.state.SetPeers([]uuid.UUID{early, late}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go a.keepPeers(ctx)
		synctest.Wait()
		holds := func(want ...uuid.UUID) {
			t.Helper()
			synctest.Wait()
			if got, err := a.state.Peers(); err != nil || !slices.Equal(got, want) {
				t.Errorf("kept %v, %v, want %v", got, err, want)
			}
		}
		p.set(late)
		a.sessionBegan()
		holds(late, early)
		time.Sleep(rememberPeers + time.Second)
		p.set(later)
		a.sessionBegan()
		holds(later)
		if log.Len() > 0 {
			t.Error(&log)
		}
	})
}

// TestPeersOfADamagedFile: what cannot be read or written costs those sessions
// their haste, and nothing else.
func TestPeersOfADamagedFile(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"garbage":    func(path string) error { return os.WriteFile(path, []byte("\x00garbage"), 0o600) },
		"other JSON": func(path string) error { return os.WriteFile(path, []byte(`{"a":["b"]}`), 0o600) },
		"no ids":     func(path string) error { return os.WriteFile(path, []byte(`["x"]`), 0o600) },
		"for everyone": func(path string) error {
			return errors.Join(os.WriteFile(path, []byte(`[]`), 0o600), os.Chmod(path, 0o644))
		},
		"a directory": func(path string) error { return os.MkdirAll(filepath.Join(path, "x"), 0o700) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				directory := t.TempDir()
				path := filepath.Join(directory, peersName)
				if err := damage(path); err != nil {
					t.Fatal(err)
				}
				var log strings.Builder
				a, p := keeper(t, directory, &log)
				a.greetPeers(p)
				if len(p.shaken) != 0 || !strings.Contains(log.String(), path) {
					t.Errorf("shakes hands with %v; log: %s", p.shaken, &log)
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				go a.keepPeers(ctx)
				p.mu.Lock()
				p.active = []uuid.UUID{uuid.New()}
				p.mu.Unlock()
				a.sessionBegan()
				synctest.Wait()
				kept, err := a.state.Peers()
				if name == "a directory" {
					if !strings.Contains(log.String(), "peers not kept") {
						t.Errorf("log: %s", &log)
					}
				} else if err != nil || !slices.Equal(kept, p.active) {
					t.Errorf("the next session leaves %v, %v", kept, err)
				}
			})
		})
	}
}
