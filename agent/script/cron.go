package script

import (
	"context"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/robfig/cron/v3"

	"github.com/causewayhq/causeway/proto/agentv2"
)

// look is how often the clock on the wall is looked at: it can be set, and
// stands still for no timer while the host sleeps.
const look = time.Minute

// entry is a script that runs at times.
type entry struct {
	script Script
	stop   context.CancelFunc // of the clock, not of a run
}

// Schedule makes these scripts, and no others, run at their times. Those that
// are the same as before go on without missing one.
func (r *Runner) Schedule(scripts []Script) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.halted {
		return
	}
	wanted := map[uuid.UUID]Script{}
	for _, script := range scripts {
		if script.Cron != "" {
			wanted[script.key()] = script
		}
	}
	for key, entry := range r.entries {
		if wanted[key] == entry.script {
			delete(wanted, key)
			continue
		}
		entry.stop()
		delete(r.entries, key)
	}
	for key, script := range wanted {
		schedule, err := parseCron(script.Cron)
		if err != nil {
			continue // Read has told of it
		}
		ctx, stop := context.WithCancel(r.alive)
		r.entries[key] = &entry{script, stop}
		r.work.Go(func() { r.follow(ctx, script, schedule) })
	}
}

// follow runs a script at its times. One that comes during the run of the last
// is left out.
func (r *Runner) follow(ctx context.Context, script Script, schedule cron.Schedule) {
	for {
		next := schedule.Next(time.Now())
		if next.IsZero() {
			r.config.Logger.Warn("a script is scheduled for a day that never comes", slog.String("script", script.name()), slog.String("schedule", script.Cron))
			return
		}
		if !waitUntil(ctx, next) {
			return
		}
		r.run(r.alive, script, agentv2.Timing_CRON, script.Timeout)
	}
}

func waitUntil(ctx context.Context, at time.Time) bool {
	for {
		left := time.Until(at)
		if left <= 0 {
			return ctx.Err() == nil
		}
		timer := time.NewTimer(min(left, look))
		select {
		case <-ctx.Done():
			timer.Stop()
			return false
		case <-timer.C:
		}
	}
}
