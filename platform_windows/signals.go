package platform

import (
	"context"
	"log/slog"
	"time"

	"github.com/causewayhq/causeway/netcfg/watch"
)

// Observe takes a signal from whoever hears it first: the service's control
// handler ([FromService]), or Windows itself while Watch runs. It never blocks;
// of a flood the rest is dropped, for a wake is noticed by the clocks too.
func (o *OS) Observe(signal Signal) {
	select {
	case o.signals <- signal:
	default:
	}
}

// watchSignals turns signals into notices.
func (o *OS) watchSignals(ctx context.Context, notices chan<- watch.Notice) {
	var state power
	for {
		var signal Signal
		select {
		case <-ctx.Done():
			return
		case signal = <-o.signals:
		}
		var tell []watch.Notice
		switch state.observe(signal, time.Now()) {
		case started:
			o.log.Warn("Windows resumed what was shut down (fast startup)", slog.Bool("restarts", o.restart != nil))
			if o.restart != nil {
				o.restart()
			}
			tell = []watch.Notice{watch.Wake}
		case woke:
			tell = []watch.Notice{watch.Wake}
		case noWake:
			if signal == Unlocked {
				// What happened behind the lock screen may have come without word.
				tell = []watch.Notice{watch.Foreign, watch.Own}
			}
		}
		for _, n := range tell {
			select {
			case notices <- n:
			case <-ctx.Done():
				return
			}
		}
	}
}
