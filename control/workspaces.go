package control

import (
	"fmt"
	"log/slog"

	"github.com/causewayhq/causeway/proto/tailnetv2"
	"github.com/causewayhq/causeway/workspace"
)

// agentLimit bounds the agents and workspaces of one owner. One message cannot
// hold many more, but a control plane gone wrong could send such messages for
// ever.
const agentLimit = 100_000

// receiveWorkspaces keeps the state of what exists, and the destinations equal
// to all its agents. The state outlives the connection; the first message of
// each connection replaces it.
func (s *session) receiveWorkspaces(stream tailnetv2.DRPCTailnet_WorkspaceUpdatesClient, c *coordination) error {
	var entries bounded
	for first := true; ; first = false {
		message, err := stream.Recv()
		if err != nil {
			return fmt.Errorf("receive workspaces: %w", err)
		}
		if err := entries.add(message, s.loop.state, first); err != nil {
			return err
		}
		state, diff, err := s.loop.state.Apply(message, first)
		if err != nil {
			return err
		}
		s.loop.state = state
		if first {
			s.loop.Destinations.Sync(state.AgentIDs())
			c.attach()
		} else {
			s.loop.Destinations.follow(diff)
		}
		if first || !diff.Empty() {
			if err := s.loop.Workspaces(state, diff); err != nil {
				s.log.Warn("workspace update not taken", slog.String("error", err.Error()))
			}
		}
		if first {
			s.answered()
		}
	}
}

// bounded counts the entries of the state, never too few. It counts exactly
// only when there seem to be too many, so that a message costs what it holds.
type bounded struct{ most int }

// add refuses a message that would take the state past the limit.
func (b *bounded) add(message *tailnetv2.WorkspaceUpdate, state *workspace.State, snapshot bool) error {
	fresh := len(message.GetUpsertedWorkspaces()) + len(message.GetUpsertedAgents())
	b.most += fresh
	if b.most > agentLimit && !snapshot {
		b.most = state.Len() + len(state.Workspaces()) + fresh
	}
	if b.most > agentLimit {
		return fmt.Errorf("receive workspaces: %d workspaces and agents are over %d", b.most, agentLimit)
	}
	return nil
}
