package nrpt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"sync"
	"time"
)

// maxRaces is how often a table that others change while we work is read again
// before the attempt ends.
const maxRaces = 5

// Options of Rules. All are needed.
type Options struct {
	Store   Store
	System  System
	Journal Journal
	Logger  *slog.Logger
}

// Rules are ours in the table of this host. Safe for concurrent use.
type Rules struct {
	store   Store
	journal Journal
	logger  *slog.Logger
	system  System
	notify  bounded
	flush   bounded

	mu        sync.Mutex // of one pass over the table
	want      *Want      // asked for last; nil before the first time
	announced bool       // the system was told what stands in the registry

	statusMu  sync.Mutex
	rivals    []Rival
	contested time.Time // when rules were last put back in a fight
}

// New returns rules that leave everything as it is until they are asked. The
// rules that an earlier process left stay in effect; which they are is told by
// the journal, and by their marks if it was lost.
func New(o Options) *Rules {
	return &Rules{store: o.Store, journal: o.Journal, logger: o.Logger, system: o.System,
		notify: bounded{name: "policy notification"}, flush: bounded{name: "cache flush"}}
}

// SetDNS has the servers answer for the suffixes, which come without dots
// around them. It writes what differs from what is in the registry, first adds
// and then deletes, also what earlier processes left; when it fails before all
// rules stand, it deletes nothing. Without suffixes it is Cleanup: do not call
// it so merely because suffixes are not known yet.
//
// Telling the system is not part of success: it is given 5 s, and a failure is
// logged.
func (r *Rules) SetDNS(ctx context.Context, suffixes []string, servers []netip.Addr) error {
	want, err := NewWant(suffixes, servers)
	if err != nil {
		return fmt.Errorf("set name resolution rules: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.want = &want
	if _, err := r.settle(ctx, want); err != nil {
		return fmt.Errorf("set name resolution rules: %w", err)
	}
	return nil
}

// Cleanup deletes every rule of ours from both places, of this process and of
// earlier ones, listed in the journal or not. It may be called twice in a row.
func (r *Rules) Cleanup(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.want = nil
	// A rule that is gone from the registry may still be in effect.
	if _, err := r.settle(ctx, Want{}); err != nil {
		return fmt.Errorf("delete name resolution rules: %w", err)
	}
	return nil
}

// Recheck does again what was asked last, if anything was: for a wake from
// sleep, or whenever the table may have been touched. Watch calls it.
func (r *Rules) Recheck(ctx context.Context) error {
	_, err := r.recheck(ctx)
	return err
}

func (r *Rules) recheck(ctx context.Context) (changed bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.want == nil || len(r.want.names) == 0 {
		return false, nil
	}
	if changed, err = r.settle(ctx, *r.want); err != nil {
		return changed, fmt.Errorf("check name resolution rules: %w", err)
	}
	return changed, nil
}

// settle reads, plans and carries out, and says whether it wrote or deleted.
func (r *Rules) settle(ctx context.Context, want Want) (changed bool, err error) {
	for range maxRaces {
		var state State
		if state, err = r.read(); err != nil {
			return changed, err
		}
		r.observe(state, want)
		var did bool
		did, err = r.apply(ctx, Plan(state, want))
		changed = changed || did
		if !errors.Is(err, ErrNoPolicy) {
			break
		}
	}
	return changed, err
}

func (r *Rules) read() (State, error) {
	state := State{Journal: r.journal.Entries(), Unannounced: !r.announced}
	for _, place := range []Place{Local, Policy} {
		list, exists, err := r.store.List(place)
		if err != nil {
			return State{}, fmt.Errorf("list %s rules: %w", place, err)
		}
		found := make([]Found, 0, len(list))
		for _, id := range list {
			values, err := r.store.Read(place, id)
			if errors.Is(err, fs.ErrNotExist) {
				continue // deleted meanwhile
			}
			if err != nil {
				return State{}, fmt.Errorf("read %s rule %s: %w", place, id, err)
			}
			found = append(found, Found{ID: id, Values: values})
		}
		if place == Policy {
			state.Policy, state.PolicyExists = found, exists
		} else {
			state.Local = found
		}
	}
	var err error
	if state.Retired, err = r.store.Retired(); err != nil {
		return State{}, fmt.Errorf("look for retired rules: %w", err)
	}
	return state, nil
}

// apply carries out a plan. After a failed write nothing is deleted; after a
// failed deletion the others are still made, but nothing is forgotten. What
// was changed is announced in any case.
func (r *Rules) apply(ctx context.Context, ops []Op) (changed bool, err error) {
	var failed []error
	stopped := false
	for _, op := range ops {
		announces := op.Kind == OpNotify || op.Kind == OpFlush
		switch {
		case announces && (changed || !stopped):
			r.announce(ctx, op.Kind)
			continue
		case stopped || announces || op.Kind == OpForget && len(failed) > 0:
			continue
		}
		if err := r.do(op); err != nil {
			failed = append(failed, err)
			stopped = op.Kind == OpRecord || op.Kind == OpWrite
			continue
		}
		if op.Kind == OpWrite || op.Kind == OpDelete || op.Kind == OpRetire {
			changed = true
			r.logger.Info("name resolution rules changed", slog.String("step", op.String()))
		}
	}
	if len(ops) > 0 && !stopped {
		r.announced = true
	}
	return changed, errors.Join(failed...)
}

func (r *Rules) do(op Op) error {
	var err error
	switch op.Kind {
	case OpRecord:
		err = r.journal.Record(op.Changes...)
	case OpWrite:
		err = r.store.Write(op.Place, op.ID, op.Values)
	case OpDelete:
		err = r.store.Delete(op.Place, op.ID)
	case OpRetire:
		err = r.store.Retire(op.IDs)
	case OpSweep:
		err = r.store.Sweep()
	case OpForget:
		err = r.journal.Done(op.Changes...)
	default:
		err = errors.New("no such operation")
	}
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return nil
}

// announce tells the system. Its failure is nobody's: the rules stand, and the
// system finds them at its next look, or after a reboot.
func (r *Rules) announce(ctx context.Context, kind OpKind) {
	call, run := &r.notify, r.system.NotifyPolicy
	if kind == OpFlush {
		call, run = &r.flush, r.system.FlushCache
	}
	if err := call.run(ctx, run); err != nil {
		r.logger.Warn("system not told of name resolution rules", slog.String("step", call.name), slog.Any("error", err))
	}
}

// String says what is done to what.
func (op Op) String() string {
	switch op.Kind {
	case OpRecord:
		return "record rules"
	case OpWrite:
		return fmt.Sprintf("write %s rule %s", op.Place, op.ID)
	case OpDelete:
		return fmt.Sprintf("delete %s rule %s", op.Place, op.ID)
	case OpRetire:
		return "retire key of group policy"
	case OpSweep:
		return "delete retired rules"
	case OpForget:
		return "strike out rules"
	case OpNotify:
		return "notify of new policy"
	default:
		return "flush cache"
	}
}
