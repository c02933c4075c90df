package doctor

import (
	"context"
	"errors"
	"fmt"
)

// Mend is a way to mend what is ours. There are no others: what belongs to
// another program or to the administrator is named and left alone.
type Mend string

// The ways.
const (
	MendNone    Mend = ""
	MendStart   Mend = "start the service"
	MendRestart Mend = "restart the service"
	MendSocket  Mend = "open the socket to all users"
	MendApply   Mend = "have the daemon put the host's settings back"
	MendCycle   Mend = "take the tunnel down and up again"
)

// NeedsRoot says whether only root may.
func (m Mend) NeedsRoot() bool { return m == MendStart || m == MendRestart || m == MendSocket }

// Past says that it was done.
func (m Mend) Past() string {
	switch m {
	case MendStart:
		return "the service was started"
	case MendRestart:
		return "the service was restarted"
	case MendSocket:
		return "the socket was opened to all users"
	case MendApply:
		return "the daemon put the host's settings back"
	case MendCycle:
		return "the tunnel was taken down and up again"
	case MendNone:
	}
	return ""
}

// Mender does it.
type Mender interface {
	Start(ctx context.Context) error
	Restart(ctx context.Context) error
	OpenSocket(ctx context.Context) error
	Apply(ctx context.Context) error
	Cycle(ctx context.Context) error
	// Settle waits until the tunnel works again, for a limited time.
	Settle(ctx context.Context)
}

// Mended is one repair.
type Mended struct {
	Check  string // that called for it
	Action Mend
	Done   bool  // and the check is well now
	Err    error // else
}

// Patient is a host that can be examined and mended.
type Patient interface {
	Probes
	Mender
}

// Repair mends what the outcomes call for, each way once, and is then silent
// about whether it helped: Confirm tells, from a second examination.
func Repair(ctx context.Context, outcomes []Outcome, mender Mender, root bool) []Mended {
	var all []Mended
	tried := map[Mend]error{}
	for _, outcome := range outcomes {
		if outcome.Mend == MendNone {
			continue
		}
		if _, again := tried[outcome.Mend]; !again {
			tried[outcome.Mend] = mend(ctx, outcome.Mend, mender, root)
		}
		all = append(all, Mended{Check: outcome.ID, Action: outcome.Mend, Err: tried[outcome.Mend]})
	}
	for _, err := range tried {
		if err == nil {
			mender.Settle(ctx)
			break
		}
	}
	return all
}

// ErrNeedsRoot is the error of a repair that was not tried.
var ErrNeedsRoot = errors.New("only root may")

func mend(ctx context.Context, how Mend, mender Mender, root bool) error {
	if how.NeedsRoot() && !root {
		return ErrNeedsRoot
	}
	switch how {
	case MendStart:
		return mender.Start(ctx)
	case MendRestart:
		return mender.Restart(ctx)
	case MendSocket:
		return mender.OpenSocket(ctx)
	case MendApply:
		return mender.Apply(ctx)
	case MendCycle:
		return mender.Cycle(ctx)
	case MendNone:
	}
	return nil
}

// Confirm tells of each repair whether its check is well afterwards.
func Confirm(mended []Mended, after []Outcome) []Mended {
	for i := range mended {
		if mended[i].Err != nil {
			continue
		}
		for _, outcome := range after {
			if outcome.ID != mended[i].Check {
				continue
			}
			switch outcome.Result {
			case OK:
				mended[i].Done = true
			case Failed, Warning:
				if outcome.Result == Warning && outcome.Mend == MendNone {
					mended[i].Done = true // of another thing
					continue
				}
				mended[i].Err = fmt.Errorf("it did not help: %s", outcome.Cause)
			case Skipped:
				mended[i].Err = fmt.Errorf("whether it helped is not known, because of %s", outcome.Because)
			}
		}
	}
	return mended
}

// Calm says that waiting will change nothing: each repair that was tried has
// helped, and nothing fails now that did not before.
func Calm(mended []Mended, before, after []Outcome) bool {
	for _, one := range mended {
		if !one.Done && !errors.Is(one.Err, ErrNeedsRoot) {
			return false
		}
	}
	failed := map[string]bool{}
	for _, outcome := range before {
		failed[outcome.ID] = outcome.Result == Failed
	}
	for _, outcome := range after {
		if outcome.Result == Failed && !failed[outcome.ID] {
			return false
		}
	}
	return true
}
