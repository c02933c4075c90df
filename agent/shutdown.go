package agent

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/causewayhq/causeway/proto/agentv2"
)

// The parts of an orderly end are the protocol's (docs, 5.6). The goodbye to
// peers takes a second at most, scripts as long as they may: script.StopLimit
// without a limit of their own.
const (
	sshEnd    = 5 * time.Second
	reportEnd = 5 * time.Second
	// workEnd is for what has been told to end already: all but programs that cannot
	// be ended, of another user or held by the kernel, does so at once.
	workEnd = 5 * time.Second
)

// shutDown ends the agent's work in the order that lets the others know, while
// the connection to the control plane goes on: sessions, the goodbye to peers,
// scripts, the last reports and lines. A supervisor's second signal ends the
// process where it stands.
func (a *agent) shutDown() {
	begun := a.scripts.hasBegun()
	if begun {
		a.reporter.add(agentv2.Lifecycle_SHUTTING_DOWN)
	}
	var terminals sync.WaitGroup
	terminals.Go(a.endTerminals) // beside SSH: both take their whole time at worst
	sshCtx, cancel := context.WithTimeout(context.Background(), sshEnd)
	if err := a.ssh.Shutdown(sshCtx); err != nil {
		a.log.Warn("ssh sessions did not end in time", slog.String("error", err.Error()))
	}
	cancel()
	terminals.Wait()
	a.loop.Leave(context.Background())
	if begun {
		a.scripts.stop()
		a.lastWords()
	}
	a.scripts.runner.Close()
}

// awaitWork waits for what the agent runs; what does not end is left to the end of
// the process.
func (a *agent) awaitWork() {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		a.work.Wait()
	}()
	timer := time.NewTimer(workEnd)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
		a.log.Warn("something of the agent does not end, and is left behind; it may be a program of a terminal that cannot be ended")
	}
}

// lastWords gives what is not told yet its last chance.
func (a *agent) lastWords() {
	ctx, cancel := context.WithTimeout(context.Background(), reportEnd)
	defer cancel()
	var all sync.WaitGroup
	for _, drain := range []func(context.Context){
		a.reporter.steps.drain, a.scripts.timings.drain, a.scripts.lines.Drain, a.reports.connections.Drain, a.reports.stats.Drain,
	} {
		all.Go(func() { drain(ctx) })
	}
	all.Wait()
	if ctx.Err() != nil {
		a.log.Warn("the control plane did not hear the last of this agent in time")
	}
}
