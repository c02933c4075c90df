package workspace

import (
	"encoding/json"
	"fmt"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/proto/tailnetv2"
)

// jsonVersion is raised when the form on disk changes in a way that an older
// reader would misread.
const jsonVersion = 1

type jsonState struct {
	Version    int             `json:"version"`
	Workspaces []jsonWorkspace `json:"workspaces"`
}

type jsonWorkspace struct {
	ID     uuid.UUID   `json:"id"`
	Name   string      `json:"name"`
	Status int32       `json:"status"`
	Agents []jsonAgent `json:"agents"`
}

type jsonAgent struct {
	ID   uuid.UUID `json:"id"`
	Name string    `json:"name"`
}

// MarshalJSON gives the form for the disk; equal states give equal bytes.
func (s *State) MarshalJSON() ([]byte, error) {
	form := jsonState{Version: jsonVersion, Workspaces: make([]jsonWorkspace, 0, s.workspaces.size)}
	for _, e := range s.sorted() {
		w := jsonWorkspace{ID: e.ID, Name: e.Name, Status: int32(e.Status), Agents: make([]jsonAgent, 0, len(e.agents))}
		for _, agent := range e.agents {
			w.Agents = append(w.Agents, jsonAgent{ID: agent.ID, Name: agent.Name})
		}
		form.Workspaces = append(form.Workspaces, w)
	}
	return json.Marshal(form)
}

// UnmarshalJSON replaces the state by one from the disk. When it fails the
// state is as it was before.
func (s *State) UnmarshalJSON(data []byte) error {
	var form jsonState
	if err := json.Unmarshal(data, &form); err != nil {
		return fmt.Errorf("decode workspace state: %w", err)
	}
	if form.Version != jsonVersion {
		return fmt.Errorf("decode workspace state: version %d, want %d", form.Version, jsonVersion)
	}
	c := newChange(&State{}, true, len(form.Workspaces), len(form.Workspaces))
	for _, w := range form.Workspaces {
		if c.workspaceKnown(w.ID) {
			return fmt.Errorf("decode workspace state: workspace %s twice", w.ID)
		}
		c.workspaces[w.ID] = c.newWorkspaces.keep(Workspace{ID: w.ID, Name: w.Name, Status: tailnetv2.Workspace_Status(w.Status)})
		for _, a := range w.Agents {
			if c.agentKnown(a.ID) {
				return fmt.Errorf("decode workspace state: agent %s twice", a.ID)
			}
			c.agents[a.ID] = c.newAgents.keep(Agent{ID: a.ID, Name: a.Name, WorkspaceID: w.ID})
		}
	}
	*s = *c.finish()
	return nil
}
