// Package apphealth asks the workspace's apps whether they answer, each at its
// own interval, and tells the control plane what changed. Checking never waits
// for telling.
package apphealth

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/proto/agentv2"
)

const (
	// tick is how often changes are looked for (docs of the protocol, 5.6), and
	// the shortest interval.
	tick = time.Second
	// early is how much less than its interval a check may take, so that the next
	// one never overlaps with it.
	early = time.Millisecond
	// maxApps is far above what a workspace has; each can cost a connection.
	maxApps = 256
)

// Checker knows the health of each app. All methods are safe for concurrent use.
type Checker struct {
	logger *slog.Logger
	wanted func() []*agentv2.WorkspaceApp
	// get is nil for an app that answers.
	get     func(ctx context.Context, url string) error
	running sync.WaitGroup

	mu   sync.Mutex
	apps map[uuid.UUID]*app
}

// plan says how an app is checked.
type plan struct {
	url       string
	interval  time.Duration
	threshold int
}

type app struct {
	plan
	name string
	// since is when it was last checked, or first known.
	since    time.Time
	checking bool
	failures int // in a row
	health   agentv2.AppHealth
}

// New makes a checker of the apps that wanted returns; Check makes it work.
func New(logger *slog.Logger, wanted func() []*agentv2.WorkspaceApp) *Checker {
	return &Checker{logger: logger, wanted: wanted, get: get, apps: map[uuid.UUID]*app{}}
}

// Check asks the apps until ctx ends and all checks have ended.
func (c *Checker) Check(ctx context.Context) {
	defer c.running.Wait()
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		c.begin(ctx, time.Now())
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// begin starts the checks that are due. The first is due after one interval:
// apps take a while to start.
func (c *Checker) begin(ctx context.Context, now time.Time) {
	wanted := c.wanted()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.adoptLocked(wanted, now)
	for _, each := range c.apps {
		// Ticks come a little early or late, so half of one is given.
		if !each.checking && now.Sub(each.since) >= each.interval-tick/2 {
			each.checking, each.since = true, now
			c.running.Go(func() { c.check(ctx, each, each.plan) })
		}
	}
}

// adoptLocked makes the apps those that are wanted. One that is checked in
// another way than before begins anew. The caller holds mu.
func (c *Checker) adoptLocked(wanted []*agentv2.WorkspaceApp, now time.Time) {
	seen := make(map[uuid.UUID]bool, len(wanted))
	for _, each := range wanted {
		id, next, ok := planOf(each)
		if !ok || seen[id] || len(seen) == maxApps {
			continue
		}
		seen[id] = true
		current := c.apps[id]
		if current == nil || current.plan != next {
			// A check of the old plan that is under way ends for nobody.
			c.apps[id] = &app{plan: next, name: each.GetSlug(), since: now, health: agentv2.AppHealth_INITIALIZING}
		}
	}
	for id := range c.apps {
		if !seen[id] {
			delete(c.apps, id)
		}
	}
}

// planOf says how an app is to be checked, if at all.
func planOf(of *agentv2.WorkspaceApp) (uuid.UUID, plan, bool) {
	check := of.GetHealthcheck()
	id, err := uuid.FromBytes(of.GetId())
	interval := check.GetInterval().AsDuration()
	if err != nil || check.GetUrl() == "" || interval <= 0 || of.GetHealth() == agentv2.WorkspaceApp_DISABLED {
		return uuid.Nil, plan{}, false
	}
	return id, plan{check.GetUrl(), max(interval, tick), int(max(check.GetThreshold(), 0))}, true
}

func (c *Checker) check(ctx context.Context, of *app, as plan) {
	limited, cancel := context.WithTimeout(ctx, as.interval-early)
	err := c.get(limited, as.url)
	cancel()
	c.mu.Lock()
	defer c.mu.Unlock()
	if of.checking = false; ctx.Err() != nil {
		return
	}
	before := of.health
	if err == nil {
		of.failures, of.health = 0, agentv2.AppHealth_HEALTHY
	} else if of.failures++; of.failures > as.threshold {
		of.health = agentv2.AppHealth_UNHEALTHY
	}
	if of.health == before {
		return
	}
	attributes := []slog.Attr{slog.String("app", of.name), slog.String("health", of.health.String())}
	if err != nil {
		attributes = append(attributes, slog.String("error", err.Error()))
	}
	c.logger.LogAttrs(ctx, slog.LevelDebug, "app's health changed", attributes...)
}
