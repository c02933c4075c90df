package platform

import (
	"fmt"
	"time"
)

// The policy of a fight over resolv.conf with another program.
const (
	// fightRounds lost within fightWindow are the end of it for fightPause: about
	// 7 s against a program that undoes each repair at once (measured).
	fightRounds = 10
	fightWindow = 30 * time.Second
	fightPause  = time.Minute
	// fightWorthAWord rounds within the window make it trouble.
	fightWorthAWord = 3
)

// fight counts how often another program took our line out of resolv.conf.
type fight struct {
	rounds []time.Time
	until  time.Time // no further round before
	by     string
}

// lose counts a round, and tells that it was the last one for a while.
func (f *fight) lose(now time.Time, by string) (over bool) {
	f.by = by
	f.rounds = append(f.recent(now), now)
	if len(f.rounds) < fightRounds {
		return false
	}
	f.rounds, f.until = nil, now.Add(fightPause)
	return true
}

// over tells that there is no use in trying now.
func (f *fight) over(now time.Time) bool { return now.Before(f.until) }

func (f *fight) recent(now time.Time) []time.Time {
	for i, t := range f.rounds {
		if now.Sub(t) < fightWindow {
			return f.rounds[i:]
		}
	}
	return nil
}

// trouble names the other program, nil while it is not worth a word.
func (f *fight) trouble(path string, now time.Time) error {
	switch {
	case f.over(now):
		return fmt.Errorf("keep our name server in %s: %s takes it out again and again; not tried before %s, names are in the hosts file",
			path, f.by, f.until.Format(time.TimeOnly))
	case len(f.recent(now)) >= fightWorthAWord:
		return fmt.Errorf("keep our name server in %s: %s takes it out again and again", path, f.by)
	}
	return nil
}
