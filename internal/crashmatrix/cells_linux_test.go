package crashmatrix

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// cell is one crash: at a step of a phase, or, with step 0, when the phase is
// over and the daemon has done all it wants.
type cell struct {
	phase phase
	at    int
	step  string
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
}

func (o *outcome) fault(format string, args ...any) {
	o.faults = append(o.faults, fmt.Sprintf(format, args...))
}

// run crashes twice at the same step: once the cleanup verb comes next, once
// the next start.
func (b *bench) run(ctx context.Context, c cell) *outcome {
	o := &outcome{cell: c, began: time.Now()}
	defer func() { o.ended = time.Now() }()
	if err := b.crash(ctx, c); err != nil {
		o.fault("%v", err)
	}
	b.expectRestored(ctx, o, "cleanup after the crash")
	if err := b.crash(ctx, c); err != nil {
		o.fault("%v", err)
	}
	began := time.Now()
	if err := errors.Join(b.arm(0), b.up(ctx)); err != nil {
		o.fault("the next start: %v\n%s", err, tail(b.daemon.Log(), 40))
	}
	o.recovery = time.Since(began)
	if err := b.stop(); err != nil {
		o.fault("stop: %v", err)
	}
	b.expectRestored(ctx, o, "cleanup after the next start and its stop")
	return o
}

// crash brings the daemon to the step and has it die there.
func (b *bench) crash(ctx context.Context, c cell) error {
	if err := b.prepare(ctx, c.phase, c.at); err != nil {
		return errors.Join(err, b.kill())
	}
	if err := c.phase.act(ctx, b); err != nil {
		return errors.Join(err, b.kill())
	}
	if c.at == 0 {
		return errors.Join(b.finish(ctx, c.phase), b.kill())
	}
	if err := b.waitEnd(); err != nil {
		return errors.Join(err, b.kill())
	}
	steps, err := b.steps()
	if err != nil {
		return err
	}
	if len(steps) != c.at {
		return fmt.Errorf("it ended after %d steps, not at step %d:\n%s", len(steps), c.at, strings.Join(steps, "\n"))
	}
	return nil
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
