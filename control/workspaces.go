package control

import (
	"fmt"
	"log/slog"

	"github.com/causewayhq/causeway/proto/tailnetv2"
)

// receiveWorkspaces keeps the state of what exists, and the destinations equal
// to all its agents. The state outlives the connection; the first message of
// each connection replaces it.
func (s *session) receiveWorkspaces(stream tailnetv2.DRPCTailnet_WorkspaceUpdatesClient, c *coordination) error {
	for first := true; ; first = false {
		message, err := stream.Recv()
		if err != nil {
			return fmt.Errorf("receive workspaces: %w", err)
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
