package crashmatrix

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/causewayhq/causeway/internal/testnet"
)

// host is a flavour, with or without the forwarder.
type host struct {
	flavour testnet.Flavour
	forward bool
	unit    bool // systemd runs the daemon
	sample  bool // its short form is part of every `make test`
}

func (h host) String() string {
	if h.unit {
		return string(h.flavour) + "+unit"
	}
	if h.forward {
		return string(h.flavour) + "+forwarder"
	}
	return string(h.flavour)
}

// hosts leaves out the forwarder where nobody is asked whether to split names.
var hosts = []host{
	{flavour: testnet.Resolved, sample: true},
	{flavour: testnet.Resolved, unit: true, sample: true},
	{flavour: testnet.NetworkManager},
	{flavour: testnet.Dnsmasq},
	{flavour: testnet.Dnsmasq, forward: true},
	{flavour: testnet.OpenResolv},
	{flavour: testnet.Resolvconf},
	{flavour: testnet.Plain, sample: true},
	{flavour: testnet.Plain, unit: true},
	{flavour: testnet.Plain, forward: true},
	{flavour: testnet.OpenResolv, forward: true},
	{flavour: testnet.Resolvconf, forward: true},
	{flavour: testnet.NetworkManager, forward: true},
}

// atOnce is how many hosts are busy at the same time.
const atOnce = "3"

// TestCrashMatrix prints the cells run and failed of every host, and of all.
func TestCrashMatrix(t *testing.T) {
	short := sample(t)
	must(t, flag.Set("test.parallel", atOnce))
	tables := make([]*table, len(hosts))
	t.Run("on", func(t *testing.T) {
		for i, h := range hosts {
			t.Run(h.String(), func(t *testing.T) {
				if short && !h.sample {
					t.Skip("not in the sample: make e2e runs it")
				}
				t.Parallel()
				tables[i] = &table{host: h}
				if h.unit {
					onUnit(t, h, short, tables[i])
					return
				}
				onHost(t, h, short, tables[i])
			})
		}
	})
	run, failed, missed := 0, 0, 0
	for _, table := range tables {
		if table != nil {
			run, failed, missed = run+table.run, failed+table.failed, missed+table.missed
		}
	}
	figure(t, "%d cells run, %d failed, %d whose step did not come this time", run, failed, missed)
}

// onHost runs all cells of one host.
func onHost(t *testing.T, h host, short bool, table *table) {
	b := newBench(t, h.flavour, h.forward)
	if short || !h.forward {
		b.noticesLeftovers(t)
	}
	b.ask(t)
	ctx := context.WithoutCancel(t.Context())
	b.first(t)
	var outcomes []*outcome
	for _, p := range phases {
		steps, err := b.record(ctx, p)
		if err != nil {
			o := &outcome{cell: cell{phase: p, step: "the run without a crash"}, began: time.Now()}
			o.fault("%v\n%s", err, tail(b.daemon.Log(), 40))
			o.fault("%v", b.kill())
			b.expectRestored(ctx, o, "cleanup")
			o.ended = time.Now()
			outcomes = append(outcomes, o)
			continue
		}
		cells := cellsOf(p, steps, short)
		t.Logf("%s: %d steps: %s", p.name, len(steps), strings.Join(steps, "; "))
		for _, c := range cells {
			o := b.run(ctx, c)
			t.Logf("%5.1f s, %d faults: %s %s", o.ended.Sub(o.began).Seconds(), len(o.faults), c, strings.Join(o.faults, "\n"))
			outcomes = append(outcomes, o)
		}
	}
	if !short {
		b.powerCuts(t)
		b.fullDisk(t)
	}
	table.judge(t, outcomes, b.stopAsking(), b.restarts(t))
	figure(t, "%s", table)
}

// first signs in and comes up for the first time, and stops.
func (b *bench) first(t *testing.T) {
	t.Helper()
	ctx := within(t, 2*time.Minute)
	must(t, b.arm(mark{}))
	must(t, b.start())
	must(t, b.wish(ctx, "status"))
	must(t, b.stack.Login(ctx, b.user))
	must(t, b.wish(ctx, "up"))
	if err := b.works(ctx); err != nil {
		t.Fatalf("the first start: %v\n%s", err, tail(b.daemon.Log(), 60))
	}
	after, err := b.snapshot(ctx)
	must(t, err)
	if len(compare(b.before, after)) == 0 {
		t.Error("the running tunnel shows nowhere in what is compared")
	}
	must(t, b.restore(ctx))
	if differences := b.unlike(ctx, b.before); len(differences) > 0 {
		t.Errorf("the first stop: the host differs from before:\n%s", strings.Join(differences, "\n"))
	}
}

// sampled is how many steps of each phase the short form tries.
const sampled = 2

// cellsOf makes a cell of each step, and one of the end.
func cellsOf(p phase, steps []string, short bool) []cell {
	var cells []cell
	for i, step := range steps {
		cells = append(cells, cell{p, i + 1, step, mark{step, countOf(steps[:i+1], step)}})
	}
	if short && len(cells) > sampled {
		cells = []cell{cells[len(cells)/2], cells[len(cells)-1]}
	}
	if !p.ends || p.name == "down" {
		cells = append(cells, cell{phase: p})
	}
	return cells
}

// table is the result of one host.
type table struct {
	host                 host
	run, failed, missed  int
	lines                []string
	asked, unanswered    int
	longest, recoveryMax time.Duration
	// asRestarted counts those unanswered while dnsmasq was started anew, which
	// the user has allowed there.
	restarts, asRestarted int
}

func (t *table) String() string {
	return fmt.Sprintf("%-21s %3d cells run, %d failed, %d whose step did not come this time; %d lookups of public names, %d failed, longest %.2f s; next start works after at most %.1f s\n%s",
		t.host, t.run, t.failed, t.missed, t.asked, t.unanswered, t.longest.Seconds(), t.recoveryMax.Seconds(), strings.Join(t.lines, "\n"))
}

// mayMiss: of that many cells of a host, one may have no crash at its step.
const mayMiss = 10

// judge holds the lookups against the cells during which they ran.
func (t *table) judge(test *testing.T, outcomes []*outcome, lookups []lookup, restarts []step) {
	test.Helper()
	for _, r := range restarts {
		if r.done() {
			t.restarts++
		}
	}
	for _, l := range lookups {
		t.asked++
		t.longest = max(t.longest, l.took)
		if l.fault == "" {
			continue
		}
		if slices.ContainsFunc(restarts, func(r step) bool { return l.began.Sub(r.at).Abs() < restartNear }) {
			t.asRestarted++
			continue
		}
		t.unanswered++
		i := slices.IndexFunc(outcomes, func(o *outcome) bool { return !l.began.Before(o.began) && l.began.Before(o.ended) })
		if i < 0 {
			test.Errorf("outside all cells: a public name at %s: %s", l.began.Format("15:04:05.000"), l.fault)
			continue
		}
		outcomes[i].fault("a public name: %s", l.fault)
	}
	if t.asked == 0 {
		test.Error("no public name was looked up")
	}
	phaseCells, phaseFailed := map[string]int{}, map[string]int{}
	var order []string
	for _, o := range outcomes {
		t.run++
		t.recoveryMax = max(t.recoveryMax, o.recovery)
		if o.missed {
			t.missed++
			test.Logf("did not come this time: %s: %s", t.host, o.cell)
		}
		if phaseCells[o.phase.name]++; phaseCells[o.phase.name] == 1 {
			order = append(order, o.phase.name)
		}
		if len(o.faults) > 0 {
			t.failed++
			phaseFailed[o.phase.name]++
			test.Errorf("%s: %s:\n%s", t.host, o.cell, strings.Join(o.faults, "\n"))
		}
	}
	if t.missed*mayMiss > t.run {
		test.Errorf("%s: the steps of %d cells out of %d did not come: more than one in %d", t.host, t.missed, t.run, mayMiss)
	}
	if t.restarts > 0 {
		t.lines = append(t.lines, fmt.Sprintf("    %d more failed or took over %v, within %v of one of %d restarts of dnsmasq, which the user asked for",
			t.asRestarted, lookupLimit, restartNear, t.restarts))
	}
	for _, name := range order {
		t.lines = append(t.lines, fmt.Sprintf("    %-15s %3d run %3d failed", name, phaseCells[name], phaseFailed[name]))
	}
}
