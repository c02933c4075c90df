package service

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"time"
)

// ShutdownLimit is how long the daemon may take to end. Our unit for systemd
// gives it 15 s (TimeoutStopSec=), and a reboot must not wait long. Undoing the
// network configuration takes well under a second; the tunnel gives it 8 s and
// then says what is left, for which these 12 s leave it the time.
const ShutdownLimit = 12 * time.Second

// maxStacks bounds the dump of all goroutines, in bytes.
const maxStacks = 4 << 20

// GuardShutdown watches the shutdown that the end of ctx begins: if stop has
// not been called ShutdownLimit later, it writes all stacks to w and calls exit
// with FailureHang.
func GuardShutdown(ctx context.Context, w io.Writer, exit func(code int)) (stop func()) {
	ended := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-ended:
			return
		case <-ctx.Done():
		}
		timer := time.NewTimer(ShutdownLimit)
		defer timer.Stop()
		select {
		case <-ended:
			return
		case <-timer.C:
		}
		stacks := make([]byte, maxStacks)
		stacks = stacks[:runtime.Stack(stacks, true)]
		fmt.Fprintf(w, "causewayd: shut down: not done after %s, giving up; the stacks:\n%s\n", ShutdownLimit, stacks)
		exit(int(FailureHang))
	}()
	return func() {
		close(ended)
		<-watched
	}
}
