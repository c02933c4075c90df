package main

import (
	"context"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/causewayhq/causeway/tunnel"
)

// stopping is the key of the context that only a stop for good ends, in that of
// a command.
type stopping struct{}

// stoppedForGood says that the process was asked to put the host back, possibly
// after it was asked to hand over.
func stoppedForGood(ctx context.Context) bool {
	good, ok := ctx.Value(stopping{}).(context.Context)
	return ok && good.Err() != nil
}

// untilSignal is a context that a signal ends: SIGTERM and an interrupt with no
// cause of their own, those of the handover with tunnel.ErrHandover. It goes on
// listening: a stop may follow a handover, see stoppedForGood.
func untilSignal(parent context.Context) (context.Context, func()) {
	good, stopForGood := context.WithCancel(context.WithoutCancel(parent))
	ctx, cancel := context.WithCancelCause(context.WithValue(parent, stopping{}, good))
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, append(handoverSignals, os.Interrupt, syscall.SIGTERM)...)
	done, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		for {
			select {
			case got := <-signals:
				if slices.Contains(handoverSignals, got) {
					cancel(tunnel.ErrHandover)
					continue
				}
				stopForGood()
				cancel(nil)
			case <-done:
				return
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		<-watched
		cancel(nil)
		stopForGood()
	}
}
