package nrpt

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// Putting rules back: at once after things have been quiet, then slower each
// time, for the other program may be just as stubborn.
const (
	watchFirst  = 250 * time.Millisecond // also what a burst of changes takes
	watchFactor = 2
	watchLast   = 30 * time.Second
	// watchCalm without another change begins from the start.
	watchCalm = time.Minute
	// watchSlow is how often to look without being told: nobody promises that
	// every change is told.
	watchSlow = time.Minute
	// watchFight is the pause from which on it is called a fight.
	watchFight = 4 * time.Second
)

var errContested = errors.New("another program keeps changing our name resolution rules; they are put back ever more slowly")

// Watch puts back what others change or delete, follows group policy as it
// comes and goes, and keeps Trouble up to date, until the context ends. It
// writes nothing before the first SetDNS.
func (r *Rules) Watch(ctx context.Context) error {
	wake := make(chan struct{}, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.putBack(ctx, wake)
	}()
	err := r.system.Watch(ctx, func() { poke(wake) })
	cancel()
	<-done
	return err
}

func (r *Rules) putBack(ctx context.Context, wake chan struct{}) {
	pause := watchFirst
	var last time.Time
	slow := time.NewTicker(watchSlow)
	defer slow.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-wake:
		case <-slow.C:
		}
		if time.Since(last) > watchCalm {
			pause = watchFirst
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		select {
		case <-wake: // what came during the pause is seen now
		default:
		}
		changed, err := r.recheck(ctx)
		if err != nil {
			r.logger.Warn("name resolution rules not put back, trying on", slog.Any("error", err))
			poke(wake)
		}
		if !changed && err == nil {
			continue
		}
		last = time.Now()
		if pause = min(watchFactor*pause, watchLast); changed && pause >= watchFight {
			r.statusMu.Lock()
			r.contested = last
			r.statusMu.Unlock()
		}
	}
}

func poke(wake chan<- struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}
