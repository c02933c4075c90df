package crashmatrix

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/causewayhq/causeway/internal/rig"
)

// cell is one crash: at a step of a phase, or, without one, when the phase is
// over and the daemon has done all it wants.
type cell struct {
	phase phase
	at    int // its number in the run without a crash
	step  string
	mark  mark
}

func (c cell) String() string {
	switch {
	case c.step == "":
		return c.phase.name + ", after all"
	case c.at == 0:
		return c.phase.name + ", " + c.step
	}
	return fmt.Sprintf("%s, step %d (%s)", c.phase.name, c.at, c.step)
}

// outcome is what a cell found.
type outcome struct {
	cell
	began, ended time.Time
	faults       []string
	recovery     time.Duration // from the next start until all works
	missed       bool          // the step did not come; the crash was at the end
}

func (o *outcome) fault(format string, args ...any) {
	o.faults = append(o.faults, fmt.Sprintf(format, args...))
}

// run crashes twice at the same step: once the cleanup verb comes next, once
// the next start.
func (b *bench) run(ctx context.Context, c cell) *outcome {
	o := &outcome{cell: c, began: time.Now()}
	defer func() { o.ended = time.Now() }()
	b.crash(ctx, o)
	b.expectRestored(ctx, o, "cleanup after the crash")
	b.crash(ctx, o)
	began := time.Now()
	if err := errors.Join(b.arm(mark{}), b.up(ctx)); err != nil {
		o.fault("the next start: %v\n%s", err, tail(b.daemon.Log(), 40))
	}
	o.recovery = time.Since(began)
	if err := b.stop(); err != nil {
		o.fault("stop: %v", err)
	}
	b.expectRestored(ctx, o, "cleanup after the next start and its stop")
	return o
}

// errMissed is that a phase went well, but without the step: what the daemon
// notices first decides whether there is anything to write at some steps.
var errMissed = errors.New("the step did not come")

// crash brings the daemon to the step and has it die there, at the second
// attempt if need be. If the step does not come then either, it dies at the end of
// the phase.
func (b *bench) crash(ctx context.Context, o *outcome) {
	err := b.crashOnce(ctx, o.cell)
	if errors.Is(err, errMissed) {
		if err = errors.Join(b.arm(mark{}), b.restore(ctx)); err == nil {
			err = b.crashOnce(ctx, o.cell)
		}
	}
	switch {
	case errors.Is(err, errMissed):
		o.missed = true
		err = b.kill()
	case err != nil:
		err = errors.Join(err, b.kill())
	}
	if err != nil {
		o.fault("%v", err)
	}
}

func (b *bench) crashOnce(ctx context.Context, c cell) error {
	if err := b.prepare(ctx, c.phase, c.mark); err != nil {
		return err
	}
	if err := c.phase.act(ctx, b); err != nil {
		return err
	}
	if c.at == 0 {
		return errors.Join(b.finish(ctx, c.phase), b.kill())
	}
	return b.dies(ctx, c)
}

// dies waits until the daemon has died at the step. A phase that is over without
// it is missed.
func (b *bench) dies(ctx context.Context, c cell) error {
	ctx, cancel := context.WithTimeout(ctx, endLimit)
	defer cancel()
	acted := time.Now()
	return rig.Eventually(ctx, func() error {
		ended := b.ended()
		steps, err := b.steps()
		if err != nil {
			return err
		}
		came := countOf(steps, c.step) >= c.mark.nth
		switch {
		case ended && came && steps[len(steps)-1] == c.step:
			return nil
		case ended && !came && c.phase.name == "SIGTERM":
			return rig.Final(errMissed)
		case ended:
			return rig.Final(fmt.Errorf("it ended, but not at the step:\n%s\n%s", strings.Join(steps, "\n"), tail(b.daemon.Log(), 30)))
		case came:
			return errors.New("the daemon is at the step and still runs")
		}
		return b.missed(ctx, c.phase, acted)
	})
}

// missed is errMissed when the phase is over for certain.
func (b *bench) missed(ctx context.Context, p phase, acted time.Time) error {
	quiet, err := b.quiet(acted, missTime)
	if err != nil {
		return err
	}
	if !quiet {
		return errors.New("the step has not come")
	}
	if p.ends {
		if p.name == "SIGTERM" {
			return fmt.Errorf("the daemon still runs:\n%s", tail(b.daemon.Log(), 30))
		}
		return rig.Final(errMissed)
	}
	if err := b.worksNow(ctx); err != nil {
		return err
	}
	return rig.Final(errMissed)
}

// expectRestored cleans up and compares. What is left is blamed on this cell
// alone: the next one starts from there.
func (b *bench) expectRestored(ctx context.Context, o *outcome, when string) {
	if err := b.cleanup(ctx); err != nil {
		o.fault("%s: %v", when, err)
	}
	differences := b.unlike(ctx, b.before)
	if len(differences) == 0 {
		return
	}
	o.fault("%s: the host differs from before:\n\t%s", when, strings.Join(differences, "\n\t"))
	if now, err := b.snapshot(ctx); err == nil {
		b.before = now
	}
}
