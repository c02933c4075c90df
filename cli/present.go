package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

// presentLimit is how long an agent gets to answer before ssh is begun without
// an answer: one that is there does within two round trips.
const presentLimit = time.Second

// present asks an agent for a sign of life before a program is begun that would
// wait for it without a word. Without one, an agent that the control plane does
// not see is an error, and of any other it is said that it is waited for.
func (a *app) present(ctx context.Context, status *localv1.Status, agent *localv1.AgentStatus) error {
	client, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	limited, cancel := context.WithTimeout(ctx, presentLimit)
	defer cancel()
	_, err = client.Ping(limited, &localv1.PingRequest{Name: agentName(agent)})
	var known *localapi.Error
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case agent.GetOffline():
		cause := fmt.Sprintf("reach %s: agent is not online", agentName(agent))
		if since := a.offline(agent); since != "" {
			cause += " (" + since + ")"
		}
		return &localapi.Error{
			Code: localapi.CodeDegraded, Cause: cause,
			Remedy: "start the workspace, or see on its machine whether the agent runs; causeway list shows when it is back",
		}
	case errors.As(err, &known) && known.Code == localapi.CodePermission:
		return err
	}
	waits := "it has not answered yet; causeway status says what is known of it"
	if !status.GetControlConnected() {
		waits = "it does not answer, and the control plane, which knows where it is, is not connected; it is tried again all the time"
	}
	fmt.Fprintf(a.env.Stderr, "waiting for %s: %s\n", printable(agentName(agent)), waits)
	return nil
}

// offline is since when an agent is missed, or "" where nobody knows.
func (a *app) offline(agent *localv1.AgentStatus) string {
	if agent.GetOfflineSince() == nil {
		return ""
	}
	return "for " + span(max(a.now().Sub(agent.GetOfflineSince().AsTime()), 0))
}

// offlineWords is that an agent is missed, and since when.
func (a *app) offlineWords(agent *localv1.AgentStatus) string {
	return "offline" + suffixed(" ", a.offline(agent))
}

// wayOrOffline is how packets reach an agent, or that nobody sees it.
func (a *app) wayOrOffline(agent *localv1.AgentStatus) string {
	if agent.GetOffline() {
		return a.offlineWords(agent)
	}
	return way(agent)
}
