package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/causewayhq/causeway/internal/rig"
)

const (
	// quietFor is how long the idle daemon is watched with everything well.
	quietFor = 60 * time.Second
	// outageFor is how long it is watched with the control plane blackholed.
	outageFor = 10 * time.Minute
	// settleFor is left out at the beginning of the outage: its first seconds are
	// the noticing, and not the state that lasts.
	settleFor = 15 * time.Second
)

// rest is what a process costs at rest.
type rest struct {
	cpu      float64 // share of one core, in %
	switches float64 // voluntary context switches of all threads, a second
	growth   float64 // of RSS, in MB
}

// idleCost is bar 13: a thousand known peers and no traffic, and then the
// same with the control plane unreachable.
func (b *bench) idleCost() (rows []row, err error) {
	stack := rig.New(b.net, b.dir, b.dir)
	defer func() {
		err = errors.Join(err, stack.Close())
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, stack.Logs())
		}
	}()
	if err := b.startStack(stack); err != nil {
		return nil, err
	}
	if output, err := stack.Causeway(b.ctx, "up", "--wait"); err != nil {
		return nil, fmt.Errorf("%w: %s", err, output)
	}
	if _, err := b.memoryOfMany(stack); err != nil {
		return nil, err
	}
	client, agent, err := wgEnds()
	if err != nil {
		return nil, err
	}
	plain, err := b.plainWireguard(b.net.Client, client, agent, agentAddr)
	if err != nil {
		return nil, err
	}
	if err := plain.ready(b.ctx); err != nil {
		return nil, err
	}
	quiet, outage := quietFor, outageFor
	if b.quick {
		quiet, outage = quiet/4, outage/20
	}
	both, err := b.atRest(quiet, stack.Daemon.PID(), plain.pid())
	if err != nil {
		return nil, err
	}
	ours, peer := both[0], both[1]
	rows = append(rows,
		row{metric: "idle, 1,000 agents known: CPU", unit: "% of a core", ours: []float64{ours.cpu}, peer: []float64{peer.cpu}, target: &target{limit: 0.1, amount: true},
			note: fmt.Sprintf("%v with nothing to do; the peer is a plain wireguard-go with one peer, beside it.", quiet)},
		row{metric: "idle, 1,000 agents known: wake-ups", unit: "/s", ours: []float64{ours.switches}, peer: []float64{peer.switches}, target: &target{limit: 15, amount: true},
			note: "voluntary context switches of all threads."})

	if err := b.net.Server.Cut(b.ctx, clientAddr); err != nil {
		return rows, err
	}
	b.watch(settleFor)
	lost, err := b.atRest(outage, stack.Daemon.PID())
	if healErr := b.net.Server.Heal(b.ctx); err == nil {
		err = healErr
	}
	if err != nil {
		return rows, err
	}
	return append(rows,
		row{metric: "control plane unreachable: CPU", unit: "% of a core", ours: []float64{lost[0].cpu}, target: &target{limit: 0.5, amount: true},
			note: fmt.Sprintf("everything from and to the server is dropped; %v of it, with 1,000 agents known.", outage)},
		row{metric: "control plane unreachable: wake-ups", unit: "/s", ours: []float64{lost[0].switches}},
		row{metric: "control plane unreachable: RSS growth", unit: "MB", ours: []float64{lost[0].growth}, target: &target{limit: 2, amount: true}}), nil
}

// atRest watches processes over the same time.
func (b *bench) atRest(lasting time.Duration, pids ...int) ([]rest, error) {
	type reading struct {
		cpu, switches, rss float64
		at                 time.Time
	}
	read := func() (all []reading, err error) {
		for _, pid := range pids {
			one := reading{at: time.Now()}
			if one.cpu, err = cpu(pid); err != nil {
				return nil, err
			}
			if one.switches, err = voluntarySwitches(pid); err != nil {
				return nil, err
			}
			if one.rss, err = memory(pid, "VmRSS"); err != nil {
				return nil, err
			}
			all = append(all, one)
		}
		return all, nil
	}
	before, err := read()
	if err != nil {
		return nil, err
	}
	b.watch(lasting)
	after, err := read()
	if err != nil {
		return nil, err
	}
	costs := make([]rest, len(pids))
	for at := range pids {
		seconds := after[at].at.Sub(before[at].at).Seconds()
		costs[at] = rest{
			cpu:      (after[at].cpu - before[at].cpu) / seconds * 100,
			switches: (after[at].switches - before[at].switches) / seconds,
			growth:   after[at].rss - before[at].rss,
		}
	}
	return costs, b.ctx.Err()
}

// watch lasts as long as it is told, in a quick run too.
func (b *bench) watch(lasting time.Duration) {
	select {
	case <-b.ctx.Done():
	case <-time.After(lasting):
	}
}

// voluntarySwitches counts those of all threads so far. Threads that end take
// theirs along; the runtime keeps its threads.
func voluntarySwitches(pid int) (float64, error) {
	tasks, err := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "task", "*", "status"))
	if err != nil || len(tasks) == 0 {
		return 0, fmt.Errorf("read context switches: no threads of process %d: %w", pid, err)
	}
	total := 0
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if errors.Is(err, os.ErrNotExist) {
			continue // a thread that has just ended
		}
		if err != nil {
			return 0, fmt.Errorf("read context switches: %w", err)
		}
		for line := range strings.Lines(string(text)) {
			if count, found := strings.CutPrefix(line, "voluntary_ctxt_switches:"); found {
				value, err := strconv.Atoi(strings.TrimSpace(count))
				if err != nil {
					return 0, fmt.Errorf("read context switches: %w", err)
				}
				total += value
			}
		}
	}
	return float64(total), nil
}
