package tunnel

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/proto/tailnetv2"
	"github.com/causewayhq/causeway/tailnet"
)

// Brief says what Status says, except for the agents: whoever looks at every
// change must not pay for a thousand that nobody uses.
func TestBrief(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := barePlane()
		r := newBubbleRig(t, p, servePipes(t, p), t.TempDir()).start()
		r.waitState(Connected)
		used := idOf("main")
		r.engine().do(func() {
			r.engine().peers[used] = tailnet.PeerStatus{RxBytes: 7, TxBytes: 9}
			r.engine().peers[idOf("other")] = tailnet.PeerStatus{}
		})
		workspaceID := idOf("big workspace")
		update := &tailnetv2.WorkspaceUpdate{UpsertedWorkspaces: []*tailnetv2.Workspace{{Id: workspaceID[:], Name: "big"}}}
		many := 1000
		for i := range many {
			id := uuid.NewSHA1(workspaceID, fmt.Append(nil, i))
			update.UpsertedAgents = append(update.UpsertedAgents, &tailnetv2.Agent{Id: id[:], Name: fmt.Sprint("a", i), WorkspaceId: workspaceID[:]})
		}
		r.Tunnel.mu.Lock()
		next, _, err := r.Tunnel.state().Apply(update, false)
		r.saved.Workspaces = next
		r.Tunnel.mu.Unlock()
		if err != nil {
			t.Fatal(err)
		}
		brief, whole := r.Brief(), r.Status()
		if want := []AgentStatus{{ID: used, RxBytes: 7, TxBytes: 9}}; !reflect.DeepEqual(brief.Agents, want) {
			t.Errorf("%d agents, want %+v", len(brief.Agents), want)
		}
		if len(whole.Agents) <= many {
			t.Fatalf("status of %d agents", len(whole.Agents))
		}
		whole.Agents, brief.Agents = nil, nil
		whole.WorkspacesAsOf = brief.WorkspacesAsOf
		if !reflect.DeepEqual(brief, whole) {
			t.Errorf("brief %+v\nstatus %+v", brief, whole)
		}
		if allocations := testing.AllocsPerRun(10, func() { r.Brief() }); allocations > 50 {
			t.Errorf("%v allocations with %d agents", allocations, many)
		}
	})
}
