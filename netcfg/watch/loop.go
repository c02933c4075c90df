package watch

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
	// settleOwn is between two repairs: while our route or our names are away,
	// lookups fail, so the first notice is followed at once.
	settleOwn = 250 * time.Millisecond
	// clockInterval is how soon a wake is noticed, at 0.2 wake-ups a second.
	clockInterval = 5 * time.Second
	// auditInterval finds what no message tells of, such as a rewritten
	// resolv.conf.
	auditInterval = time.Minute
	// repairEvery and repairBurst limit the repairs: after ten in a row
	// somebody is fighting with us, and one a second has to do: names and routes
	// are still back within two.
	repairEvery = time.Second
	repairBurst = 10
)

// Notice is what a watcher of the platform has seen. It need not be gathered:
// the loop does that.
type Notice int

const (
	// Foreign: something changed on a link that is not ours.
	Foreign Notice = iota + 1
	// Own: something changed on our interface, or in our names.
	Own
	// Unfinished: somebody changes what decides how names are looked up, which
	// is often done in several steps: what it is between them is not looked at.
	Unfinished
	// Resolver: the system's resolver has started anew and knows nothing of us.
	Resolver
	// Wake: the system said that it has slept. Without such word the clocks tell.
	Wake
)

// Reading is one look at the clocks.
type Reading struct {
	Mono time.Duration // stands still in suspend
	Boot time.Duration // goes on in suspend
	Wall time.Time
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
func wakeBetween(before, after Reading, interval time.Duration) bool {
	mono := after.Mono - before.Mono
	return after.Boot-before.Boot-mono >= sleptAtLeast ||
		after.Wall.Round(0).Sub(before.Wall.Round(0))-mono >= jumpedAtLeast ||
		mono-interval >= jumpedAtLeast
}

// Loop turns notices into repairs and events. It owns all timers; notices come
// from goroutines that know nothing of time. Every field but InVain is needed.
type Loop struct {
	Notices <-chan Notice
	Clocks  func() Reading
	// Fingerprint describes the foreign network: what changes nothing in it
	// is no event.
	Fingerprint func() string
	// Repair applies the last wanted state; with force, whole.
	Repair func(ctx context.Context, force bool)
	// Failing says that the last attempt to apply it failed.
	Failing func() bool
	Changed func(netcfg.Event)
	// InVain tells that the last repair found all in place, as most do that
	// follow from our own changes: such do not count for the limit. Nil: all count.
	InVain func() bool
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

// Run works until the context ends. All functions are called from its goroutine.
func (w *Loop) Run(ctx context.Context) {
	clock, audit := time.NewTicker(clockInterval), time.NewTicker(auditInterval)
	defer clock.Stop()
	defer audit.Stop()
	var foreign, own <-chan time.Time // nil while nothing is pending
	limit := rate.NewLimiter(rate.Every(repairEvery), repairBurst)
	force := false
	var again retry
	last, network := w.Clocks(), w.Fingerprint()
	var due, quiet time.Time // when own ticks; until when a first notice has to wait
	repairSoon := func(after time.Duration) {
		if at := time.Now().Add(after); own == nil || at.Before(due) {
			own, due = time.After(after), at
		}
	}
	woke := func() {
		w.Changed(netcfg.Woke)
		force = true
		repairSoon(0)
	}
	for {
		select {
		case <-ctx.Done():
			return
		case n := <-w.Notices:
			switch n {
			case Foreign:
				if foreign == nil {
					foreign = time.After(settleForeign)
				}
			case Resolver, Own:
				force = force || n == Resolver
				repairSoon(max(0, time.Until(quiet)))
			case Unfinished:
				repairSoon(settleOwn)
			case Wake:
				last = w.Clocks() // they need not tell it again
				woke()
			}
		case <-foreign:
			foreign = nil
			if now := w.Fingerprint(); now != network {
				network = now
				w.Changed(netcfg.NetworkChanged)
				repairSoon(0)
			}
		case <-own:
			own = nil
			if limit.Tokens() < 1 {
				own, due = time.After(repairEvery), time.Now().Add(repairEvery)
				continue
			}
			w.Repair(ctx, force)
			force, quiet = false, time.Now().Add(settleOwn)
			if w.InVain == nil || !w.InVain() {
				limit.Allow()
			}
		case <-audit.C:
			repairSoon(0)
		case <-clock.C:
			now := w.Clocks()
			if wakeBetween(last, now, clockInterval) {
				woke()
			}
			last = now
			// What made it fail may end without a message.
			if again.due(w.Failing()) {
				repairSoon(0)
			}
		}
	}
}
