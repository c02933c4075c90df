package tailnet

import (
	"context"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"tailscale.com/net/netmon"
)

const (
	// measureEvery is upstream's pause between full measurements; measureRetry
	// comes after one that no relay answered.
	measureEvery = 5 * time.Minute
	measureRetry = 30 * time.Second
	// measureTimeout bounds the measurement of one relay.
	measureTimeout = 5 * time.Second
	// upstreamFirst is how long upstream gets to choose among relays that all
	// announce STUN: with UDP blocked it would take more than 3 seconds.
	upstreamFirst = 500 * time.Millisecond
	// firstGrace is what the other relays get, at least, once one has answered
	// and there is no home yet; they get as long as that one took.
	firstGrace = 50 * time.Millisecond
	// measureAtOnce bounds the relays measured at the same time.
	measureAtOnce = 8
)

// homing measures relays whose latency upstream cannot tell, and chooses our
// home where upstream would choose a wrong one, or too late.
type homing struct {
	engine *Engine
	// poked holds one token while a new measurement is wanted.
	poked chan struct{}

	mu      sync.Mutex
	plan    regionPlan
	latency map[int]time.Duration
	// preferred is the region that upstream was told to keep to, 0 for none.
	preferred int
}

func newHoming(engine *Engine) *homing {
	return &homing{engine: engine, poked: make(chan struct{}, 1), latency: map[int]time.Duration{}}
}

func (h *homing) poke() {
	select {
	case h.poked <- struct{}{}:
	default:
	}
}

// networkChanged is told by upstream's monitor.
func (h *homing) networkChanged(change netmon.ChangeDelta) {
	if change.RebindLikelyRequired {
		h.poke()
	}
}

// connected moves to a better home that was found while nobody would have
// heard of it. It measures nothing: all clients of a server that restarts come
// at once.
func (h *homing) connected() {
	plan, latency := h.current()
	h.move(plan, latency)
}

// settle takes a new plan, after upstream got its map, and keeps or makes the
// home at once where there is nothing to choose. Nobody would hear of us until
// there is a home. Upstream's next report may still change it.
func (h *homing) settle(plan regionPlan) {
	h.mu.Lock()
	h.plan = plan
	maps.DeleteFunc(h.latency, func(id int, _ time.Duration) bool { return plan.relays.Regions[id] == nil })
	h.mu.Unlock()
	engine := h.engine
	home := engine.publisher.home()
	switch {
	case len(plan.homes) == 0:
		engine.logger.LogAttrs(context.Background(), slog.LevelError, "the relay map has no relay: workspaces cannot be reached",
			slog.Int("regions", len(plan.relays.Regions)))
		engine.publisher.noHome()
	case len(plan.homes) == 1:
		home = plan.homes[0]
		engine.magic.ForceSetNearestDERP(home)
	case slices.Contains(plan.homes, home):
		// Upstream forgets its home when the region's nodes change.
		engine.magic.ForceSetNearestDERP(home)
	}
	prefer := 0
	if plan.measured && len(plan.homes) > 1 && slices.Contains(plan.homes, home) {
		prefer = home
	}
	h.prefer(prefer)
	h.poke()
	engine.homeRelayChanged() // the map may have another way to it
}

// prefer makes upstream keep to a region, 0 to none.
func (h *homing) prefer(region int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.preferred != region {
		h.preferred = region
		h.engine.magic.DebugForcePreferDERP(region)
	}
}

// current is the plan and what was measured for it.
func (h *homing) current() (regionPlan, map[int]time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.plan, maps.Clone(h.latency)
}

// run measures whenever it is asked to, and every few minutes.
func (h *homing) run(ctx context.Context) {
	timer := time.NewTimer(measureEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-h.poked:
		}
		plan, _ := h.current()
		pause := measureEvery
		switch {
		case plan.measured:
			if !h.measure(ctx, plan) {
				pause = measureRetry
			}
		case len(plan.homes) > 1:
			h.help(ctx, plan)
		}
		// Spread, so that the clients of a relay do not come all at once.
		timer.Reset(pause + rand.N(pause/4))
	}
}

// help measures for the sake of a first home that upstream has not found soon.
func (h *homing) help(ctx context.Context, plan regionPlan) {
	timer := time.NewTimer(upstreamFirst)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return
	case <-timer.C:
	}
	if h.engine.publisher.home() == 0 {
		h.measure(ctx, plan)
	}
}

type measurement struct {
	region int
	took   time.Duration
	err    error
}

// measure asks all relays of a plan, keeps what it hears, and moves our home
// if that is to be. It reports whether any relay answered.
func (h *homing) measure(ctx context.Context, plan regionPlan) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	began := time.Now()
	results := h.ask(ctx, plan.homes)
	found := map[int]time.Duration{}
	var grace <-chan time.Time
	for left := len(plan.homes); left > 0; {
		select {
		case <-grace:
			h.move(plan, found)
			grace = nil
		case result := <-results:
			left--
			if result.err != nil {
				h.engine.logger.LogAttrs(ctx, slog.LevelDebug, "relay did not answer the measurement",
					slog.Int("region", result.region), slog.Any("error", result.err))
				continue
			}
			found[result.region] = result.took
			if len(found) == 1 && h.engine.publisher.home() == 0 {
				timer := time.NewTimer(max(time.Since(began), firstGrace))
				defer timer.Stop()
				grace = timer.C
			}
		}
	}
	if ctx.Err() != nil {
		return false
	}
	h.keep(plan, found)
	h.move(plan, found)
	return len(found) > 0
}

// ask measures regions; one result comes for each.
func (h *homing) ask(ctx context.Context, regions []int) <-chan measurement {
	results := make(chan measurement, len(regions))
	places := make(chan struct{}, measureAtOnce)
	for _, region := range regions {
		// The caller of ask is counted, so Close is not waiting yet.
		h.engine.running.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			limited, cancel := context.WithTimeout(ctx, measureTimeout)
			defer cancel()
			took, err := h.engine.bridge.Latency(limited, region)
			results <- measurement{region, took, err}
		})
	}
	return results
}

// keep makes latencies the current ones. It tells peers only of news that
// matters: every measurement differs a little.
func (h *homing) keep(plan regionPlan, found map[int]time.Duration) {
	if !plan.measured {
		return
	}
	h.mu.Lock()
	former := h.latency
	h.latency = found
	h.mu.Unlock()
	news := len(former) != len(found)
	for region, took := range found {
		was, known := former[region]
		news = news || !known || took > 2*was || took < was/2
	}
	if news {
		h.engine.publisher.poke()
	}
}

// move makes the best region our home. Like upstream's own choice it waits
// until somebody would hear of it, unless there is no home yet.
func (h *homing) move(plan regionPlan, found map[int]time.Duration) {
	engine := h.engine
	home := engine.publisher.home()
	if len(plan.homes) < 2 || home != 0 && (!plan.measured || !engine.system.HealthTracker.Get().GetInPollNetMap()) {
		return
	}
	best := plan.choose(home, found)
	if best == 0 {
		return
	}
	// Upstream keeps to it as long as the region answers; it always does while
	// STUN works, by the servers that are lent to it.
	if plan.measured {
		h.prefer(best)
	}
	if best == home {
		return
	}
	engine.logger.LogAttrs(context.Background(), slog.LevelInfo, "home relay chosen",
		slog.Int("region", best), slog.Int("former", home), slog.Duration("latency", found[best]))
	engine.magic.ForceSetNearestDERP(best)
	if plan.measured {
		engine.magic.ReSTUN("home-measured")
	}
}
