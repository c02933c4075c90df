package metadata

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/causewayhq/causeway/control"
	"github.com/causewayhq/causeway/proto/agentv2"
)

const (
	// reportLimit bounds one report, of which one at a time is under way (docs of
	// the protocol, 5.6).
	reportLimit = 30 * time.Second
	// retryWait is the wait after a report that was not taken.
	retryWait = 5 * time.Second
)

// Client is the part of the agent API that takes the results.
type Client interface {
	BatchUpdateMetadata(ctx context.Context, in *agentv2.BatchUpdateMetadataRequest) (*agentv2.BatchUpdateMetadataResponse, error)
}

// Run tells what is new, once a tick, over one connection until ctx ends, or
// until the control plane says that it takes no such reports.
func (c *Collector) Run(ctx context.Context, client Client) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		timer.Reset(tick)
		untold := c.news()
		if len(untold) == 0 {
			continue
		}
		err := send(ctx, client, untold)
		switch {
		case ctx.Err() != nil || control.Unimplemented(err):
			return nil
		case err == nil:
			c.told(untold)
		default:
			c.config.Logger.Debug("metadata not taken", slog.String("error", err.Error()))
			timer.Reset(retryWait)
		}
	}
}

func send(ctx context.Context, client Client, untold map[string]*result) error {
	ctx, cancel := context.WithTimeout(ctx, reportLimit)
	defer cancel()
	now := time.Now()
	request := &agentv2.BatchUpdateMetadataRequest{}
	for _, key := range slices.Sorted(maps.Keys(untold)) {
		r := untold[key]
		request.Metadata = append(request.Metadata, &agentv2.Metadata{Key: key, Result: &agentv2.WorkspaceAgentMetadata_Result{
			CollectedAt: timestamppb.New(r.at), Age: int64(now.Sub(r.at) / time.Second), Value: r.value, Error: r.failure,
		}})
	}
	_, err := client.BatchUpdateMetadata(ctx, request)
	return err
}

func (c *Collector) news() map[string]*result {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.untold)
}

// told forgets what was told, unless there is something newer by now.
func (c *Collector) told(those map[string]*result) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, r := range those {
		if c.untold[key] == r {
			delete(c.untold, key)
		}
	}
}
