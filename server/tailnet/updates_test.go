package tailnetsvc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/proto/tailnetv2"
)

// shelf is a Source that a test rearranges.
type shelf struct {
	mu         sync.Mutex
	workspaces []*tailnetv2.Workspace
	agents     []*tailnetv2.Agent
	fail       error
	reads      int
}

func (s *shelf) Workspaces(ctx context.Context, _ uuid.UUID) ([]*tailnetv2.Workspace, []*tailnetv2.Agent, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	if ctx.Err() != nil {
		return nil, nil, ctx.Err()
	}
	return s.workspaces, s.agents, s.fail
}

func (s *shelf) set(do func(*shelf)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do(s)
}

func workspace(id byte, name string, status tailnetv2.Workspace_Status) *tailnetv2.Workspace {
	return &tailnetv2.Workspace{Id: uuidBytes(id), Name: name, Status: status}
}

func agentOf(id byte, name string, workspace byte) *tailnetv2.Agent {
	return &tailnetv2.Agent{Id: uuidBytes(id), Name: name, WorkspaceId: uuidBytes(workspace)}
}

func uuidBytes(id byte) []byte { return append(make([]byte, 15), id) }

// show writes an update as one line.
func show(update *tailnetv2.WorkspaceUpdate) string {
	var parts []string
	for _, w := range update.GetUpsertedWorkspaces() {
		parts = append(parts, fmt.Sprintf("+w%d %s %v", w.GetId()[15], w.GetName(), w.GetStatus()))
	}
	for _, a := range update.GetUpsertedAgents() {
		parts = append(parts, fmt.Sprintf("+a%d %s of %d", a.GetId()[15], a.GetName(), a.GetWorkspaceId()[15]))
	}
	for _, w := range update.GetDeletedWorkspaces() {
		parts = append(parts, fmt.Sprintf("-w%d", w.GetId()[15]))
	}
	for _, a := range update.GetDeletedAgents() {
		parts = append(parts, fmt.Sprintf("-a%d", a.GetId()[15]))
	}
	return strings.Join(parts, ", ")
}

const running, stopped = tailnetv2.Workspace_RUNNING, tailnetv2.Workspace_STOPPED

func TestUpdates(t *testing.T) {
	base := func(s *shelf) {
		s.workspaces = []*tailnetv2.Workspace{workspace(2, "two", running), workspace(1, "one", running)}
		s.agents = []*tailnetv2.Agent{agentOf(3, "main", 1), agentOf(4, "main", 2)}
	}
	tests := []struct {
		name   string
		change func(*shelf)
		want   string
	}{
		{"nothing", func(*shelf) {}, "none"},
		{"another order", func(s *shelf) { s.workspaces[0], s.workspaces[1] = s.workspaces[1], s.workspaces[0] }, "none"},
		{"status", func(s *shelf) { s.workspaces[1] = workspace(1, "one", stopped) }, "+w1 one STOPPED"},
		{"name", func(s *shelf) { s.workspaces[0] = workspace(2, "deux", running) }, "+w2 deux RUNNING"},
		{"agent name", func(s *shelf) { s.agents[0] = agentOf(3, "dev", 1) }, "+a3 dev of 1"},
		{"new agent", func(s *shelf) { s.agents = append(s.agents, agentOf(5, "gpu", 1)) }, "+a5 gpu of 1"},
		{"agent gone", func(s *shelf) { s.agents = s.agents[1:] }, "-a3"},
		{"workspace gone with its agents", func(s *shelf) { s.workspaces, s.agents = s.workspaces[1:], s.agents[:1] }, "-w2, -a4"},
		{"all gone", func(s *shelf) { s.workspaces, s.agents = nil, nil }, "-w1, -w2, -a3, -a4"},
		{"agent replaced", func(s *shelf) { s.agents[1] = agentOf(9, "main", 2) }, "+a9 main of 2, -a4"},
		{"changed in place", func(s *shelf) { s.workspaces[0].Name = "zwei" }, "+w2 zwei RUNNING"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				source := &shelf{}
				base(source)
				updates := NewUpdates(source, slog.New(slog.DiscardHandler))
				defer updates.Close()
				owner := uuid.New()
				stream, err := updates.Subscribe(t.Context(), owner)
				if err != nil {
					t.Fatal(err)
				}
				if got, want := show(<-stream), "+w1 one RUNNING, +w2 two RUNNING, +a3 main of 1, +a4 main of 2"; got != want {
					t.Errorf("first update is %q, want %q", got, want)
				}
				source.set(test.change)
				updates.Changed(uuid.New()) // somebody else's
				synctest.Wait()
				updates.Changed(owner)
				synctest.Wait()
				got := "none"
				select {
				case update := <-stream:
					got = show(update)
				default:
				}
				if got != test.want {
					t.Errorf("update is %q, want %q", got, test.want)
				}
			})
		})
	}
}

func TestUpdatesStartWithTheEmptyState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		updates := NewUpdates(&shelf{}, slog.New(slog.DiscardHandler))
		defer updates.Close()
		stream, err := updates.Subscribe(t.Context(), uuid.New())
		if err != nil {
			t.Fatal(err)
		}
		if first := <-stream; first == nil || !empty(first) {
			t.Errorf("first update is %v", first)
		}
	})
}

func TestBurstsMerge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &shelf{}
		updates := NewUpdates(source, slog.New(slog.DiscardHandler))
		defer updates.Close()
		owner := uuid.New()
		stream, err := updates.Subscribe(t.Context(), owner)
		if err != nil {
			t.Fatal(err)
		}
		// The subscriber reads nothing meanwhile.
		for i := range 100 {
			source.set(func(s *shelf) { s.workspaces = []*tailnetv2.Workspace{workspace(1, fmt.Sprint(i), running)} })
			updates.Changed(owner)
		}
		synctest.Wait()
		if got := show(<-stream); got != "" {
			t.Errorf("first update is %q", got)
		}
		synctest.Wait()
		if got := show(<-stream); got != "+w1 99 RUNNING" {
			t.Errorf("second update is %q", got)
		}
		synctest.Wait()
		select {
		case more := <-stream:
			t.Errorf("and more: %q", show(more))
		default:
		}
		if source.reads > 3 {
			t.Errorf("%d reads", source.reads)
		}
	})
}

func TestUpdatesOutliveASourceThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &shelf{}
		updates := NewUpdates(source, slog.New(slog.DiscardHandler))
		owner := uuid.New()
		stream, err := updates.Subscribe(t.Context(), owner)
		if err != nil {
			t.Fatal(err)
		}
		<-stream
		source.set(func(s *shelf) {
			s.fail = errors.New("database is away")
			s.workspaces = []*tailnetv2.Workspace{workspace(1, "one", running)}
		})
		updates.Changed(owner)
		time.Sleep(10 * sourceRetry)
		source.set(func(s *shelf) { s.fail = nil })
		if got := show(<-stream); got != "+w1 one RUNNING" {
			t.Errorf("update is %q", got)
		}
		source.set(func(s *shelf) { s.fail = errors.New("database is away") })
		if _, err := updates.Subscribe(t.Context(), owner); err == nil {
			t.Error("subscribed to a source that fails")
		}
		updates.Close()
		if _, open := <-stream; open {
			t.Error("stream is open after close")
		}
		if _, err := updates.Subscribe(t.Context(), owner); !errors.Is(err, errUpdatesClosed) {
			t.Errorf("subscribe after close: %v", err)
		}
		if len(updates.subscribers) != 0 {
			t.Errorf("%d owners left", len(updates.subscribers))
		}
	})
}

func TestSubscriptionEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		updates := NewUpdates(&shelf{}, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		stream, err := updates.Subscribe(ctx, uuid.New())
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		synctest.Wait()
		for range stream {
			t.Error("an update after the end")
		}
		updates.Close()
	})
}

func TestWorkspaceUpdatesCall(t *testing.T) {
	r := newRig(t)
	source := &shelf{workspaces: []*tailnetv2.Workspace{workspace(1, "one", running)}}
	updates := NewUpdates(source, slog.New(slog.DiscardHandler))
	r.service.Updates = updates
	owner, other := uuid.New(), uuid.New()
	client := r.user(UserStream{PeerID: uuid.New(), UserID: owner})
	open := func(id []byte) tailnetv2.DRPCTailnet_WorkspaceUpdatesClient {
		t.Helper()
		return must[tailnetv2.DRPCTailnet_WorkspaceUpdatesClient](t)(client.WorkspaceUpdates(t.Context(), &tailnetv2.WorkspaceUpdatesRequest{WorkspaceOwnerId: id}))
	}
	stream := open(owner[:])
	if got := show(must[*tailnetv2.WorkspaceUpdate](t)(stream.Recv())); got != "+w1 one RUNNING" {
		t.Errorf("first update is %q", got)
	}
	source.set(func(s *shelf) { s.workspaces = nil })
	updates.Changed(owner)
	if got := show(must[*tailnetv2.WorkspaceUpdate](t)(stream.Recv())); got != "-w1" {
		t.Errorf("second update is %q", got)
	}
	for name, id := range map[string][]byte{"somebody else's": other[:], "short": {1, 2}, "absent": nil} {
		if update, err := open(id).Recv(); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%s: got %v, %v", name, update, err)
		}
	}
	updates.Close()
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("after close: %v", err)
	}
}
