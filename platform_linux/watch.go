package platform

import (
	"context"
	"time"

	"golang.org/x/time/rate"

	"github.com/causewayhq/causeway/netcfg"
)

// The policy of watching. Each number is a compromise between noticing soon and
// fighting with whoever else configures the host.
const (
	// settleForeign gathers the burst of messages of one network change.
	settleForeign = time.Second
	// settleOwn is short: while our route or our names are away, lookups fail.
	settleOwn = 250 * time.Millisecond
	// clockInterval is how soon a wake is noticed, at 0.2 wake-ups a second.
	clockInterval = 5 * time.Second
	// auditInterval finds what no message tells of, such as a rewritten
	// resolv.conf.
	auditInterval = time.Minute
	// repairEvery and repairBurst limit the repairs: after ten in a row
	// somebody is fighting with us, and one in five seconds has to do.
	repairEvery = 5 * time.Second
	repairBurst = 10
)

// notice is what a watcher has seen.
type notice int

const (
	// noticeForeign: something changed on a link that is not ours.
	noticeForeign notice = iota + 1
	// noticeOwn: something changed on our interface or in resolved.
	noticeOwn
	// noticeResolver: resolved has started anew and knows nothing of us.
	noticeResolver
)

// reading is one look at the clocks.
type reading struct {
	mono time.Duration // stands still in suspend
	boot time.Duration // goes on in suspend
	wall time.Time
}

// Tolerances of wakeBetween.
const (
	// sleptAtLeast: the two kernel clocks differ by what was slept, exactly.
	sleptAtLeast = time.Second
	// jumpedAtLeast: the wall clock is also set by people and by NTP, and it
	// is all that tells of a virtual machine that was paused.
	jumpedAtLeast = 30 * time.Second
)

// wakeBetween tells that the host, or only this process, was asleep between two
// readings that should be interval apart.
func wakeBetween(before, after reading, interval time.Duration) bool {
	mono := after.mono - before.mono
	return after.boot-before.boot-mono >= sleptAtLeast ||
		after.wall.Round(0).Sub(before.wall.Round(0))-mono >= jumpedAtLeast ||
		mono-interval >= jumpedAtLeast
}

// watchLoop turns notices into repairs and events. It owns all timers; notices
// come from goroutines that know nothing of time.
type watchLoop struct {
	notices <-chan notice
	clocks  func() reading
	// fingerprint describes the foreign network: what changes nothing in it
	// is no event.
	fingerprint func() string
	// repair applies the last wanted state; with force, whole.
	repair func(ctx context.Context, force bool)
	// failing says that the last attempt to apply it failed.
	failing func() bool
	changed func(netcfg.Event)
}

// retry spaces the attempts after a failure: after 1, 2, 4, 8 and then each 12
// ticks of the clock, which is 5 s to a minute.
type retry struct{ waited, wait int }

func (r *retry) due(failing bool) bool {
	if !failing {
		*r = retry{}
		return false
	}
	r.wait, r.waited = max(r.wait, 1), r.waited+1
	if r.waited < r.wait {
		return false
	}
	r.waited, r.wait = 0, min(2*r.wait, 12)
	return true
}

func (w *watchLoop) run(ctx context.Context) {
	clock, audit := time.NewTicker(clockInterval), time.NewTicker(auditInterval)
	defer clock.Stop()
	defer audit.Stop()
	var foreign, own <-chan time.Time // nil while nothing is pending
	limit := rate.NewLimiter(rate.Every(repairEvery), repairBurst)
	force := false
	var again retry
	last, network := w.clocks(), w.fingerprint()
	repairSoon := func(after time.Duration) {
		if own == nil {
			own = time.After(after)
		}
	}
	for {
		select {
		case <-ctx.Done():
			return
		case n := <-w.notices:
			switch n {
			case noticeForeign:
				if foreign == nil {
					foreign = time.After(settleForeign)
				}
			case noticeResolver, noticeOwn:
				force = force || n == noticeResolver
				repairSoon(settleOwn)
			}
		case <-foreign:
			foreign = nil
			if now := w.fingerprint(); now != network {
				network = now
				w.changed(netcfg.NetworkChanged)
				repairSoon(0)
			}
		case <-own:
			own = nil
			if !limit.Allow() {
				own = time.After(repairEvery)
				continue
			}
			w.repair(ctx, force)
			force = false
		case <-audit.C:
			repairSoon(0)
		case <-clock.C:
			now := w.clocks()
			woke := wakeBetween(last, now, clockInterval)
			if woke {
				w.changed(netcfg.Woke)
				force = true
			}
			last = now
			// What made it fail may end without a message.
			if again.due(w.failing()) || woke {
				repairSoon(0)
			}
		}
	}
}
