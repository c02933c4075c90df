package crashmatrix

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/causewayhq/causeway/internal/rig"
)

const (
	unit        = "causewayd.service"
	shippedUnit = "../../packaging/linux/causewayd.service"
)

// unitPhases are those of the daemon alone that take it as it runs, and what
// systemd does.
func unitPhases() []phase {
	list := []phase{{name: "start", act: systemctl("start")}}
	for _, p := range phases {
		if p.running && p.name != "SIGTERM" {
			list = append(list, p)
		}
	}
	return append(list,
		phase{name: "restart", running: true, act: func(ctx context.Context, b *bench) error {
			// Waited for, or else nothing would tell it from before. It fails if
			// the next daemon crashes.
			_ = b.system.Command(ctx, "systemctl", "restart", unit).Run()
			return nil
		}},
		phase{name: "stop", running: true, ends: true, act: systemctl("stop")})
}

// systemctl begins a job of the unit and does not wait for it.
func systemctl(verb string) func(context.Context, *bench) error {
	return func(ctx context.Context, b *bench) error {
		_, err := b.system.Run(ctx, "systemctl", "--no-block", verb, unit)
		return err
	}
}

// onUnit runs all cells of a host with the daemon as the unit that is shipped:
// systemd starts it anew after each crash and keeps its TUN device, so that all
// that hangs on it is still there.
func onUnit(t *testing.T, h host, short bool, table *table) {
	b := newBench(t, h.flavour, false)
	b.install(t)
	b.ask(t)
	ctx := context.WithoutCancel(t.Context())
	b.firstOfUnit(t)
	var outcomes []*outcome
	for _, p := range unitPhases() {
		steps, err := b.recordUnit(ctx, p)
		if err != nil {
			t.Fatalf("%s without a crash: %v\n%s", p.name, err, b.unitLog(ctx))
		}
		t.Logf("%s: %d steps: %s", p.name, len(steps), strings.Join(steps, "; "))
		for _, c := range cellsOf(p, steps, short) {
			o := b.runUnit(ctx, c)
			t.Logf("%5.1f s, %d faults: %s %s", o.ended.Sub(o.began).Seconds(), len(o.faults), c, strings.Join(o.faults, "\n"))
			outcomes = append(outcomes, o)
		}
	}
	outcomes = append(outcomes, b.lostJournals(ctx, t)...)
	table.judge(t, outcomes, b.stopAsking(), nil)
	figure(t, "%s", table)
}

// install puts the unit that is shipped and its program onto the host, which is
// then what the host was before. Only the steps are added.
func (b *bench) install(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile(shippedUnit)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(b.system.Share, unit), text, 0o644))
	_, err = b.system.Run(within(t, time.Minute), "sh", "-ec", `install -m 755 /run/host/causewayd /usr/bin/causewayd
cd /etc/systemd/system; install -m 644 /run/host/`+unit+` .; mkdir `+unit+`.d
printf '[Service]\nEnvironment=CAUSEWAY_STEPS=/run/host/`+daemonSteps+`\n' > `+unit+`.d/steps.conf; systemctl daemon-reload`)
	must(t, err)
	b.before = b.baseline(t)
}

func (b *bench) firstOfUnit(t *testing.T) {
	t.Helper()
	ctx := within(t, 2*time.Minute)
	must(t, b.arm(mark{}))
	must(t, systemctl("start")(ctx, b))
	must(t, b.wish(ctx, "status"))
	must(t, b.stack.Login(ctx, b.user))
	if err := b.unitWorks(ctx); err != nil {
		t.Fatalf("the first start: %v\n%s", err, b.unitLog(ctx))
	}
	o := &outcome{}
	b.stopAndCompare(ctx, o)
	if len(o.faults) > 0 {
		t.Fatalf("the first stop: %s\n%s", strings.Join(o.faults, "\n"), b.unitLog(ctx))
	}
}

// recordUnit runs a phase without a crash and returns its steps.
func (b *bench) recordUnit(ctx context.Context, p phase) ([]string, error) {
	err := b.toPhase(ctx, cell{phase: p})
	if err == nil {
		err = p.act(ctx, b)
	}
	if err == nil {
		err = b.finishUnit(ctx, p)
	}
	if err != nil {
		return nil, err
	}
	steps, err := b.steps()
	o := &outcome{}
	if b.stopAndCompare(ctx, o); len(o.faults) > 0 {
		err = errors.Join(err, errors.New(strings.Join(o.faults, "\n")))
	}
	return steps, err
}

// runUnit crashes once, has systemd put things right, and takes all away.
func (b *bench) runUnit(ctx context.Context, c cell) *outcome {
	o := &outcome{cell: c, began: time.Now()}
	defer func() { o.ended = time.Now() }()
	err := b.crashUnit(ctx, c)
	if errors.Is(err, errMissed) {
		b.stopAndCompare(ctx, o)
		err = b.crashUnit(ctx, c)
	}
	if errors.Is(err, errMissed) {
		o.missed, err = true, nil
	}
	if err != nil {
		o.fault("%v\n%s", err, b.unitLog(ctx))
	}
	if !c.phase.ends || c.phase.name == "down" {
		began := time.Now()
		if err := b.unitWorks(ctx); err != nil {
			o.fault("started anew: %v\n%s", err, b.unitLog(ctx))
		}
		o.recovery = time.Since(began)
	}
	b.stopAndCompare(ctx, o)
	return o
}

func (b *bench) crashUnit(ctx context.Context, c cell) error {
	if err := b.toPhase(ctx, c); err != nil {
		return err
	}
	if err := c.phase.act(ctx, b); err != nil {
		return err
	}
	return b.crashed(ctx, c)
}

// toPhase brings the host to where the phase begins, armed.
func (b *bench) toPhase(ctx context.Context, c cell) error {
	if c.phase.running {
		if err := errors.Join(b.arm(mark{}), systemctl("start")(ctx, b), b.unitWorks(ctx), b.rest(ctx)); err != nil {
			return fmt.Errorf("before the phase: %w", err)
		}
	}
	return b.arm(c.mark)
}

// crashed waits until the daemon has died at the step, or kills it when the
// phase is over.
func (b *bench) crashed(ctx context.Context, c cell) error {
	if c.at == 0 {
		if err := b.finishUnit(ctx, c.phase); err != nil {
			return err
		}
		_, err := b.system.Run(ctx, "systemctl", "kill", "-s", "KILL", "--kill-whom=main", unit)
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, endLimit)
	defer cancel()
	acted := time.Now()
	return rig.Eventually(ctx, func() error {
		came, err := b.came(c.mark)
		if err != nil || came {
			return err
		}
		return b.missed(ctx, c.phase, acted)
	})
}

func (b *bench) finishUnit(ctx context.Context, p phase) error {
	switch {
	case p.name == "down":
		return nil // the command line has waited
	case p.ends:
		return b.unitState(ctx, "inactive", "failed")
	}
	return b.rest(ctx)
}

// unitWorks says what is wanted and waits for it.
func (b *bench) unitWorks(ctx context.Context) error {
	return errors.Join(b.wish(ctx, "up"), b.works(ctx))
}

// unitState waits for one of the states.
func (b *bench) unitState(ctx context.Context, wanted ...string) error {
	ctx, cancel := context.WithTimeout(ctx, endLimit)
	defer cancel()
	return rig.Eventually(ctx, func() error {
		output, err := b.system.Run(context.WithoutCancel(ctx), "systemctl", "show", "-P", "ActiveState", "-P", "SubState", unit)
		if err != nil {
			return err
		}
		for _, state := range strings.Fields(output) {
			for _, want := range wanted {
				if state == want {
					return nil
				}
			}
		}
		return fmt.Errorf("%s is %s", unit, strings.Join(strings.Fields(output), " "))
	})
}

// stopAndCompare stops the unit for good, which is enough to have the host as it
// was before; cleaning up harms nothing then.
func (b *bench) stopAndCompare(ctx context.Context, o *outcome) {
	if _, err := b.system.Run(ctx, "sh", "-c", "systemctl stop "+unit+"; systemctl reset-failed "+unit+" 2>/dev/null || true"); err != nil {
		o.fault("stop: %v", err)
	}
	if differences := b.unlike(ctx, b.before); len(differences) > 0 {
		o.fault("after the stop alone the host differs from before:\n\t%s", strings.Join(differences, "\n\t"))
	}
	b.expectRestored(ctx, o, "cleanup after the stop")
}

// unitLog is the end of what the unit has logged.
func (b *bench) unitLog(ctx context.Context) string {
	output, err := b.system.Run(ctx, "journalctl", "--no-pager", "-o", "short-precise", "-n", strconv.Itoa(40), "-u", unit)
	if err != nil {
		output += err.Error()
	}
	return output
}
