package tailnetsvc

import (
	"bytes"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/causewayhq/causeway/proto/tailnetv2"
)

// sentState is what one subscriber was told. It holds copies, so the source may
// do with its messages what it likes.
type sentState struct {
	workspaces map[string]*tailnetv2.Workspace
	agents     map[string]*tailnetv2.Agent
}

func newSentState() *sentState {
	return &sentState{workspaces: map[string]*tailnetv2.Workspace{}, agents: map[string]*tailnetv2.Agent{}}
}

// diff takes over a new state and says what changed: workspaces by id with name
// and status, agents by id with name and workspace. The lists are sorted by id.
func (s *sentState) diff(workspaces []*tailnetv2.Workspace, agents []*tailnetv2.Agent) *tailnetv2.WorkspaceUpdate {
	update := &tailnetv2.WorkspaceUpdate{}
	update.UpsertedWorkspaces, update.DeletedWorkspaces = changes(s.workspaces, workspaces)
	update.UpsertedAgents, update.DeletedAgents = changes(s.agents, agents)
	return update
}

// entry is a message of the diff.
type entry interface {
	proto.Message
	GetId() []byte
}

func changes[E entry](old map[string]E, current []E) (upserted, deleted []E) {
	seen := make(map[string]bool, len(current))
	for _, message := range current {
		id := string(message.GetId())
		seen[id] = true
		if known, found := old[id]; found && proto.Equal(known, message) {
			continue
		}
		kept := proto.Clone(message).(E)
		old[id] = kept
		upserted = append(upserted, kept)
	}
	for id, message := range old {
		if !seen[id] {
			delete(old, id)
			deleted = append(deleted, message)
		}
	}
	byID := func(a, b E) int { return bytes.Compare(a.GetId(), b.GetId()) }
	slices.SortFunc(upserted, byID)
	slices.SortFunc(deleted, byID)
	return upserted, deleted
}

func empty(update *tailnetv2.WorkspaceUpdate) bool {
	return len(update.GetUpsertedWorkspaces()) == 0 && len(update.GetUpsertedAgents()) == 0 &&
		len(update.GetDeletedWorkspaces()) == 0 && len(update.GetDeletedAgents()) == 0
}
