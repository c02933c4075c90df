package metadata

import (
	"context"
	"log/slog"
	"os/exec"
	"sync"
	"time"

	"github.com/causewayhq/causeway/proto/agentv2"
)

// Numbers of the protocol (its docs, 5.6), but for maxKeys, which is how many
// keys upstream's control plane takes from one agent.
const (
	tick           = time.Second
	defaultTimeout = 5 * time.Second
	maxKeys        = 128
)

// endLimit is how long scripts that were killed are waited for at the end: one
// that runs as another user, by sudo for one, cannot be killed.
const endLimit = 2 * time.Second

// Config is what a collector needs; all fields are required.
type Config struct {
	Logger *slog.Logger
	// Wanted is what the control plane wants to know now.
	Wanted func() []*agentv2.WorkspaceAgentMetadata_Description
	// Command makes a program of the workspace, and cleanup is called when it has
	// ended.
	Command func(line string) (cmd *exec.Cmd, cleanup func(), err error)
}

// Collector keeps the latest result of each key until it was told. All methods
// are safe for concurrent use.
type Collector struct {
	config Config
	// run runs a script, for as long as ctx lasts.
	run     func(ctx context.Context, script string, limit time.Duration) outcome
	running sync.WaitGroup

	mu     sync.Mutex
	items  map[string]*item
	untold map[string]*result
	// crowded is how many keys were last refused, which is logged once.
	crowded int
}

// spec is what is wanted of a key.
type spec struct {
	script            string
	interval, timeout time.Duration
}

// item is one key.
type item struct {
	spec
	wanted  bool
	running bool
	started time.Time // zero: never
}

// outcome is what a script gave: output and, in words, what was wrong.
type outcome struct{ value, failure string }

type result struct {
	outcome
	at time.Time
}

// New makes a collector; Collect makes it work.
func New(config Config) *Collector {
	return &Collector{
		config: config, run: runner(config.Command).run,
		items: map[string]*item{}, untold: map[string]*result{},
	}
}

// Collect runs what is due until ctx ends, and all scripts that can be ended have.
func (c *Collector) Collect(ctx context.Context) {
	defer c.awaitEnd()
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

// awaitEnd waits for the scripts, which the end of the context kills.
func (c *Collector) awaitEnd() {
	ended := make(chan struct{})
	go func() {
		c.running.Wait()
		close(ended)
	}()
	timer := time.NewTimer(endLimit)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
		c.config.Logger.Warn("a metadata script cannot be ended, and is left behind")
	}
}

// begin starts what is due.
func (c *Collector) begin(ctx context.Context, now time.Time) {
	wanted := c.config.Wanted()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.adoptLocked(wanted)
	for key, it := range c.items {
		if it.wanted && !it.running && it.due(now) {
			it.running, it.started = true, now
			c.running.Go(func() { c.collect(ctx, key, it, it.spec) })
		}
	}
}

// adoptLocked makes the items those that are wanted. A key whose script is no
// longer the same begins anew, once its run has ended. The caller holds mu.
func (c *Collector) adoptLocked(wanted []*agentv2.WorkspaceAgentMetadata_Description) {
	next := c.specsLocked(wanted)
	for key, it := range c.items {
		if _, it.wanted = next[key]; it.wanted {
			continue
		}
		delete(c.untold, key)
		if !it.running {
			delete(c.items, key)
		}
	}
	for key, spec := range next {
		it := c.items[key]
		if it == nil {
			it = &item{}
			c.items[key] = it
		}
		if it.wanted = true; it.spec != spec {
			it.spec, it.started = spec, time.Time{}
		}
	}
}

// specsLocked are the first keys that are wanted, up to the limit. Of a key that
// is there twice the first counts. The caller holds mu.
func (c *Collector) specsLocked(wanted []*agentv2.WorkspaceAgentMetadata_Description) map[string]spec {
	result := make(map[string]spec, min(len(wanted), maxKeys))
	refused := 0
	for _, each := range wanted {
		_, twice := result[each.GetKey()]
		switch {
		case twice:
		case len(result) == maxKeys:
			refused++
		default:
			result[each.GetKey()] = spec{
				each.GetScript(), max(each.GetInterval().AsDuration(), 0), max(each.GetTimeout().AsDuration(), 0),
			}
		}
	}
	if refused != c.crowded && refused > 0 {
		c.config.Logger.Warn("too many metadata keys; the last ones are not collected", slog.Int("limit", maxKeys), slog.Int("refused", refused))
	}
	c.crowded = refused
	return result
}

// due says whether a run is to begin. Ticks come a little early or late, so
// half of one is given.
func (it *item) due(now time.Time) bool {
	if it.started.IsZero() {
		return true
	}
	return it.interval > 0 && now.Sub(it.started) >= it.interval-tick/2
}

// limit is how long a run may take.
func (s spec) limit() time.Duration {
	switch {
	case s.timeout > 0:
		return s.timeout
	case s.interval > 0:
		return s.interval
	}
	return defaultTimeout
}

func (c *Collector) collect(ctx context.Context, key string, it *item, of spec) {
	got := c.run(ctx, of.script, of.limit())
	c.mu.Lock()
	defer c.mu.Unlock()
	it.running = false
	if it.wanted && it.spec == of && ctx.Err() == nil {
		c.untold[key] = &result{got, time.Now()}
	}
}
