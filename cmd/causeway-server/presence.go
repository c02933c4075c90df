package main

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/server/coordinator"
	"github.com/causewayhq/causeway/server/store"
)

// presenceLimit is how long a list waits for the running server, which alone
// knows who is connected.
const presenceLimit = 2 * time.Second

const presenceNote = "Who is connected is not known: the server does not answer at its access URL."

// presence is who is connected now; nil when the server does not say.
type presence map[uuid.UUID]bool

// askPresence asks the running server. Its silence is an answer too: what is in
// the database can be shown without it.
func askPresence(ctx context.Context, opened *store.Store) presence {
	ctx, cancel := context.WithTimeout(ctx, presenceLimit)
	defer cancel()
	target, err := opened.Setting(ctx, store.SettingAccessURL)
	if err != nil || target == "" {
		return nil
	}
	var found coordinator.Snapshot
	if err := askAsAdmin(ctx, opened, target+"/api/v2/debug/coordinator", &found); err != nil {
		return nil
	}
	connected := presence{}
	for _, peer := range found.Peers {
		connected[peer.ID] = true
	}
	return connected
}

// of is whether an agent is connected, nil for not known.
func (p presence) of(agent uuid.UUID) *bool {
	if p == nil {
		return nil
	}
	connected := p[agent]
	return &connected
}

func yesNo(known *bool) string {
	switch {
	case known == nil:
		return "not known"
	case *known:
		return "yes"
	default:
		return "no"
	}
}
