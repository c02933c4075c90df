package agent

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"storj.io/drpc/drpcerr"

	"github.com/causewayhq/causeway/proto/agentv2"
)

// withoutStats is a control plane that takes none, so that nobody waits for it.
type withoutStats struct{}

func (withoutStats) UpdateStats(context.Context, *agentv2.UpdateStatsRequest) (*agentv2.UpdateStatsResponse, error) {
	return nil, drpcerr.WithCode(errors.New("no"), drpcerr.Unimplemented)
}

// TestLastWordsAreWaitedFor: the last step of the agent's life is told before it
// ends when that takes 3 s, and is not waited for beyond 5 s.
func TestLastWordsAreWaitedFor(t *testing.T) {
	for answers, want := range map[time.Duration]time.Duration{3 * time.Second: 3 * time.Second, time.Hour: 5 * time.Second} {
		state := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			a := &agent{log: slog.New(slog.DiscardHandler), config: Config{StateDir: state}}
			a.reporter, a.reports, a.scripts = newReporter(a.log, "v"), newReports(a), newScripts(a)
			defer a.scripts.runner.Close()
			if err := a.reports.stats.Run(t.Context(), withoutStats{}); err != nil {
				t.Fatal(err)
			}
			a.reporter.add(agentv2.Lifecycle_OFF)
			ctx, cancel := context.WithCancel(t.Context())
			client, began, done := &taker{}, time.Now(), make(chan struct{})
			go func() {
				defer close(done)
				select {
				case <-time.After(answers):
					a.reporter.run(ctx, client, "/")
				case <-ctx.Done():
				}
			}()
			a.lastWords()
			if took := time.Since(began); took != want {
				t.Errorf("took %s, want %s", took, want)
			}
			cancel()
			<-done
			if told := slices.Equal(client.states, []agentv2.Lifecycle_State{agentv2.Lifecycle_OFF}); told != (answers < want+1) {
				t.Errorf("answered after %s: told %v", answers, client.states)
			}
		})
	}
}

// TestWorkThatDoesNotEnd: what ends is waited for, and what does not keeps nobody
// from ending.
func TestWorkThatDoesNotEnd(t *testing.T) {
	for lasts, want := range map[time.Duration]time.Duration{3 * time.Second: 3 * time.Second, time.Hour: workEnd} {
		synctest.Test(t, func(t *testing.T) {
			var log strings.Builder
			a := &agent{log: slog.New(slog.NewTextHandler(&log, nil))}
			a.work.Go(func() { time.Sleep(lasts) })
			begun := time.Now()
			a.awaitWork()
			if took := time.Since(begun); took != want || strings.Contains(log.String(), "does not end") != (lasts > want) {
				t.Errorf("work of %v: waited %v; log: %s", lasts, took, &log)
			}
			time.Sleep(lasts) // a bubble ends empty
		})
	}
}
