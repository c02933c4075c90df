package agent

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/causewayhq/causeway/control"
	"github.com/causewayhq/causeway/proto/agentv2"
)

// TestParts share one fate: the first that fails ends all, and the connection.
// One that has no more to do ends alone.
func TestParts(t *testing.T) {
	broken := errors.New("broken")
	for _, test := range []struct {
		name string
		fail error
	}{{"one fails", broken}, {"none fails", nil}} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var others atomic.Int32
				a := &agent{parts: []part{
					partFunc(func(context.Context, agentv2.DRPCAgentClient) error { return test.fail }),
					partFunc(func(ctx context.Context, _ agentv2.DRPCAgentClient) error {
						<-ctx.Done()
						others.Add(1)
						return nil
					}),
				}}
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() { ended <- a.extra(ctx, &control.Conn{}) }()
				synctest.Wait()
				if got := len(ended) == 1; got != (test.fail != nil) {
					t.Errorf("ended: %v", got)
				}
				cancel()
				if err := <-ended; test.fail != nil && !errors.Is(err, broken) || others.Load() != 1 {
					t.Errorf("%v, %d others ended", err, others.Load())
				}
			})
		})
	}
}

// TestPartsWithNothingToDo leave the connection to the others of the loop.
func TestPartsWithNothingToDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &agent{parts: []part{partFunc(func(context.Context, agentv2.DRPCAgentClient) error { return nil })}}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- a.extra(ctx, &control.Conn{}) }()
		synctest.Wait()
		if len(ended) != 0 {
			t.Error("the connection ends")
		}
		cancel()
		<-ended
	})
}

// TestManifestFirst: nothing else is asked before it came, and each connection
// asks again.
func TestManifestFirst(t *testing.T) {
	p := newPlane(t)
	p.startAgent("").wait()
	eventually(t, "the first reports", func() bool { return len(p.life()) == 2 })
	p.down()
	p.up()
	told := func() []string {
		p.mu.Lock()
		defer p.mu.Unlock()
		return slices.Clone(p.calls)
	}
	eventually(t, "the second startup", func() bool { return slices.Equal(told(), []string{"manifest", "startup", "manifest", "startup"}) })
}
