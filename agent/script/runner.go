package script

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/agent/login"
	"github.com/causewayhq/causeway/proto/agentv2"
)

// StopLimit is for scripts that run before the end and have no limit of their
// own: the end of a workspace waits for them. The supervisor's own limit must
// leave room for it (TimeoutStopSec of the unit).
const StopLimit = time.Minute

// Config is what a runner needs; all of it.
type Config struct {
	Logger *slog.Logger
	Login  login.Login
	// Output takes lines of a log source.
	Output func(source uuid.UUID, level agentv2.Log_Level) io.WriteCloser
	// Completed hears of each run that has ended, of a script with an id.
	Completed func(*agentv2.Timing)
	// BinDirectory is where scripts put programs for the workspace.
	BinDirectory string
	// DataDirectory has a directory for each script.
	DataDirectory string
	// LogDirectory is where log paths begin that are not absolute.
	LogDirectory string
}

// Outcome is how several scripts ended.
type Outcome int

// Of several that did not succeed, a failure counts before a limit.
const (
	Succeeded Outcome = iota
	TimedOut
	Failed
)

// Runner runs scripts. Its methods are safe for concurrent use.
type Runner struct {
	config    Config
	pipesWait time.Duration
	stopLimit time.Duration
	alive     context.Context // of runs that Halt ends
	halt      context.CancelFunc
	work      sync.WaitGroup // of those, and of the clocks

	mu      sync.Mutex
	halted  bool
	running map[uuid.UUID]bool
	entries map[uuid.UUID]*entry
	left    map[*process]bool // ended, with pipes that somebody still holds
}

// New makes a runner. Close ends it.
func New(config Config) *Runner {
	r := &Runner{
		config: config, pipesWait: pipesWait, stopLimit: StopLimit,
		running: map[uuid.UUID]bool{}, entries: map[uuid.UUID]*entry{}, left: map[*process]bool{},
	}
	r.alive, r.halt = context.WithCancel(context.Background())
	return r
}

// Start runs the scripts that start a workspace, side by side, and says how
// they ended when the last of them has.
func (r *Runner) Start(scripts []Script) Outcome {
	return r.all(scripts, func(script Script) (Outcome, bool) {
		if !script.OnStart || !r.begin() {
			return Succeeded, script.OnStart
		}
		defer r.work.Done()
		return r.run(r.alive, script, agentv2.Timing_START, script.Timeout), true
	})
}

// Stop runs those that end it. The context ends them early.
func (r *Runner) Stop(ctx context.Context, scripts []Script) Outcome {
	return r.all(scripts, func(script Script) (Outcome, bool) {
		if !script.OnStop {
			return Succeeded, false
		}
		limit := script.Timeout
		if limit == 0 {
			limit = r.stopLimit
		}
		return r.run(ctx, script, agentv2.Timing_STOP, limit), true
	})
}

// all runs one for each script and gives the worst outcome.
func (r *Runner) all(scripts []Script, one func(Script) (Outcome, bool)) Outcome {
	var wait sync.WaitGroup
	outcomes := make(chan Outcome, len(scripts))
	for _, script := range scripts {
		wait.Go(func() {
			if outcome, ran := one(script); ran {
				outcomes <- outcome
			}
		})
	}
	wait.Wait()
	close(outcomes)
	worst := Succeeded
	for outcome := range outcomes {
		worst = max(worst, outcome)
	}
	return worst
}

// begin counts one more that Halt waits for; false says that it was called.
func (r *Runner) begin() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.halted {
		return false
	}
	r.work.Add(1)
	return true
}

// Halt ends all that runs at times, kills what was started by that or by Start,
// and waits for it, or for the context. Stop still works.
func (r *Runner) Halt(ctx context.Context) {
	r.mu.Lock()
	r.halted = true
	r.mu.Unlock()
	r.halt()
	ended := make(chan struct{})
	go func() {
		r.work.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
	}
}

// Close ends everything, except processes that scripts have left behind: they
// are not listened to any more.
func (r *Runner) Close() {
	r.Halt(context.Background())
	r.mu.Lock()
	left := r.left
	r.left = map[*process]bool{}
	r.mu.Unlock()
	for process := range left {
		process.closePipes()
	}
	for process := range left {
		<-process.drained
	}
}

// claim makes sure that there is one run of a script at a time.
func (r *Runner) claim(script Script) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running[script.key()] {
		return false
	}
	r.running[script.key()] = true
	return true
}

// releaseAfter ends a claim when the process, if there is one, has ended.
func (r *Runner) releaseAfter(p *process, script Script) {
	if p == nil || p.ended() {
		r.release(script)
		return
	}
	go func() {
		<-p.exited
		r.release(script)
	}()
}

func (r *Runner) release(script Script) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.running, script.key())
}
