package agent

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"sync"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/causewayhq/causeway/proto/agentv2"
)

// reportClient is the part of the agent API that reports go to.
type reportClient interface {
	UpdateStartup(ctx context.Context, in *agentv2.UpdateStartupRequest) (*agentv2.Startup, error)
	UpdateLifecycle(ctx context.Context, in *agentv2.UpdateLifecycleRequest) (*agentv2.Lifecycle, error)
}

// reporter tells the control plane each step of the agent's life, once, in
// order, over however many connections that takes.
type reporter struct {
	log     *slog.Logger
	version string
	steps   *pending[*agentv2.Lifecycle]

	mu   sync.Mutex
	last agentv2.Lifecycle_State
}

func newReporter(log *slog.Logger, version string) *reporter {
	return &reporter{log: log, version: version, steps: newPending[*agentv2.Lifecycle](0)}
}

// add queues a step; its time is now. Life goes on and never back, as the
// numbers of the states do: a step that comes too late is none.
func (r *reporter) add(state agentv2.Lifecycle_State) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if state <= r.last {
		return
	}
	r.last = state
	r.steps.add(&agentv2.Lifecycle{State: state, ChangedAt: timestamppb.Now()})
}

// run reports over one connection until the context ends.
func (r *reporter) run(ctx context.Context, client reportClient, directory string) {
	startup := &agentv2.UpdateStartupRequest{Startup: &agentv2.Startup{
		Version: r.version, ExpandedDirectory: directory, Subsystems: subsystems(os.Getenv(subsystemVariable)),
	}}
	if !insist(ctx, r.log, "startup", func(ctx context.Context) error {
		_, err := client.UpdateStartup(ctx, startup)
		return err
	}) {
		return
	}
	r.steps.run(ctx, r.log, "lifecycle", func(ctx context.Context, step *agentv2.Lifecycle) error {
		_, err := client.UpdateLifecycle(ctx, &agentv2.UpdateLifecycleRequest{Lifecycle: step})
		return err
	})
}

// subsystemVariable is set by what has built or wrapped the workspace around
// the agent: names, with commas between them.
const subsystemVariable = "CODER_AGENT_SUBSYSTEM"

// subsystems leaves out what this API has no number for.
func subsystems(names string) []agentv2.Startup_Subsystem {
	var result []agentv2.Startup_Subsystem
	for name := range strings.SplitSeq(names, ",") {
		number, known := agentv2.Startup_Subsystem_value[strings.ToUpper(strings.TrimSpace(name))]
		if known && number != int32(agentv2.Startup_SUBSYSTEM_UNSPECIFIED) {
			result = append(result, agentv2.Startup_Subsystem(number))
		}
	}
	return result
}
