package agent

import (
	"context"
	"errors"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/causewayhq/causeway/agent/login"
	"github.com/causewayhq/causeway/control"
	"github.com/causewayhq/causeway/proto/agentv2"
)

// part is one concern of the agent that speaks to the control plane. What it
// collects outlives connections; Run sends it over one of them.
type part interface {
	// Run works until ctx ends, and returns nil when it has no more to do on this
	// connection. Any other error ends the connection, and the agent dials again.
	Run(ctx context.Context, api agentv2.DRPCAgentClient) error
}

// makeParts makes what runs over each connection, after the manifest was read
// and the network made, side by side.
func (a *agent) makeParts() []part {
	return slices.Concat([]part{reporting{a}, announcing{a}}, a.scripts.parts(), a.reports.parts())
}

// extra runs all parts beside the other controllers until the connection ends.
func (a *agent) extra(ctx context.Context, conn *control.Conn) error {
	group, running := errgroup.WithContext(ctx)
	api := agentv2.NewDRPCAgentClient(conn)
	for _, each := range a.parts {
		group.Go(func() error { return each.Run(running, api) })
	}
	err := group.Wait()
	if err == nil {
		// All have done what they had to: the connection goes on.
		<-ctx.Done()
	}
	return errors.Join(err, ctx.Err())
}

// login makes programs as the manifest wants them.
func (a *agent) login() login.Login {
	return login.Login{Environment: a.environment, Directory: a.directory}
}

// reporting tells the steps of the agent's life.
type reporting struct{ agent *agent }

func (r reporting) Run(ctx context.Context, api agentv2.DRPCAgentClient) error {
	r.agent.reporter.run(ctx, api, r.agent.directory())
	return nil
}
