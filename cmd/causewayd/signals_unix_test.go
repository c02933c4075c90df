//go:build unix

package main

import (
	"context"
	"errors"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/causewayhq/causeway/tunnel"
)

// send sends a signal to this process.
func send(t *testing.T, signal os.Signal) {
	t.Helper()
	if err := syscall.Kill(os.Getpid(), signal.(syscall.Signal)); err != nil {
		t.Fatal(err)
	}
}

func awaitEnd(t *testing.T, ctx context.Context) {
	t.Helper()
	select {
	case <-ctx.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("the signal was not heard")
	}
}

func TestStopAfterHandoverIsHeard(t *testing.T) {
	ctx, stop := untilSignal(t.Context())
	defer stop()
	send(t, syscall.SIGUSR2)
	awaitEnd(t, ctx)
	if !errors.Is(context.Cause(ctx), tunnel.ErrHandover) || stoppedForGood(ctx) {
		t.Fatalf("after SIGUSR2: cause %v, for good %v", context.Cause(ctx), stoppedForGood(ctx))
	}
	send(t, syscall.SIGTERM)
	awaitEnd(t, ctx.Value(stopping{}).(context.Context))
	if !stoppedForGood(ctx) {
		t.Error("the stop is not known")
	}
}

func TestStopAlone(t *testing.T) {
	for _, signal := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		ctx, stop := untilSignal(t.Context())
		send(t, signal)
		awaitEnd(t, ctx)
		if errors.Is(context.Cause(ctx), tunnel.ErrHandover) || !stoppedForGood(ctx) {
			t.Errorf("%v: cause %v, for good %v", signal, context.Cause(ctx), stoppedForGood(ctx))
		}
		stop()
	}
}
