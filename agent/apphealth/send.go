package apphealth

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/control"
	"github.com/causewayhq/causeway/proto/agentv2"
)

const (
	// answerLimit bounds one report on a connection that is alive.
	answerLimit = 30 * time.Second
	// retryWait is the wait after a report that was not taken.
	retryWait = 5 * time.Second
)

// Client is the part of the agent API that takes the reports.
type Client interface {
	BatchUpdateAppHealths(ctx context.Context, in *agentv2.BatchUpdateAppHealthRequest) (*agentv2.BatchUpdateAppHealthResponse, error)
}

// Run tells, once a tick, what differs from what the control plane believes,
// over one connection until ctx ends. It believes what its manifest says, which
// is asked for on each connection anew, and what it was told since.
func (c *Checker) Run(ctx context.Context, client Client) error {
	believed := map[uuid.UUID]agentv2.AppHealth{}
	for _, each := range c.wanted() {
		if id, err := uuid.FromBytes(each.GetId()); err == nil {
			believed[id] = agentv2.AppHealth(each.GetHealth()) // the numbers are the same
		}
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		timer.Reset(tick)
		changes := c.changes(believed)
		if len(changes) == 0 {
			continue
		}
		err := send(ctx, client, changes)
		switch {
		case ctx.Err() != nil || control.Unimplemented(err):
			return nil
		case err == nil:
			for _, each := range changes {
				believed[uuid.UUID(each.GetId())] = each.GetHealth()
			}
		default:
			c.logger.Debug("app health not taken", slog.String("error", err.Error()))
			timer.Reset(retryWait)
		}
	}
}

func send(ctx context.Context, client Client, changes []*agentv2.BatchUpdateAppHealthRequest_HealthUpdate) error {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	_, err := client.BatchUpdateAppHealths(ctx, &agentv2.BatchUpdateAppHealthRequest{Updates: changes})
	return err
}

// changes is what is to be told, in the order of the ids.
func (c *Checker) changes(believed map[uuid.UUID]agentv2.AppHealth) []*agentv2.BatchUpdateAppHealthRequest_HealthUpdate {
	c.mu.Lock()
	defer c.mu.Unlock()
	var result []*agentv2.BatchUpdateAppHealthRequest_HealthUpdate
	for id, each := range c.apps {
		if believed[id] != each.health {
			result = append(result, &agentv2.BatchUpdateAppHealthRequest_HealthUpdate{Id: id[:], Health: each.health})
		}
	}
	slices.SortFunc(result, func(a, b *agentv2.BatchUpdateAppHealthRequest_HealthUpdate) int { return bytes.Compare(a.Id, b.Id) })
	return result
}
