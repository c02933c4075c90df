package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/causewayhq/causeway/internal/rig"
	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

// daemonSocket is the daemon's default, on its host.
const daemonSocket = "/run/causeway/causeway.sock"

// footprint is bar 14. The daemon is down when it begins, and ends.
func (b *bench) footprint(stack *rig.Stack) (rows []row, err error) {
	if _, err := stack.Causeway(b.ctx, "up", "--wait"); err != nil {
		return nil, err
	}
	size, err := os.Stat(filepath.Join(b.dir, "causewayd"))
	if err != nil {
		return nil, err
	}
	rows = append(rows, row{metric: "causewayd, stripped", unit: "MB", ours: []float64{float64(size.Size()) / 1e6}, target: &target{limit: 18, amount: true}})
	starts, stops, err := b.restarts(stack)
	if err != nil {
		return rows, err
	}
	rows = append(rows,
		row{metric: "start to local API ready", unit: "ms", ours: starts, target: &target{limit: 100, amount: true}},
		row{metric: "SIGTERM to exit, tunnel up", unit: "ms", ours: stops, target: &target{limit: 500, amount: true}})

	one, peer, note, err := b.memoryOfOne(stack)
	if err != nil {
		return rows, err
	}
	rows = append(rows, row{metric: "RSS idle, up with one agent", unit: "MB", ours: []float64{one}, peer: []float64{peer}, target: &target{limit: 30, amount: true}, note: note})
	many, err := b.memoryOfMany(stack)
	if err != nil {
		return rows, err
	}
	rows = append(rows, row{metric: "RSS idle, 1,000 agents known by name", unit: "MB", ours: []float64{many}, target: &target{limit: 40, amount: true}, note: "the agents are offline: names and addresses are known, nodes are not."})
	growth, err := b.memoryOfPeers()
	if err != nil {
		return rows, err
	}
	return append(rows, row{metric: "RSS growth of the engine by 1,000 idle peers", unit: "MB", ours: []float64{growth}, target: &target{limit: 2.5, amount: true}, note: "the bar is a tenth of what wireguard-go grows by, 25 MB."}), nil
}

// memoryOfOne lets the daemon and a plain wireguard-go come to rest.
func (b *bench) memoryOfOne(stack *rig.Stack) (ours, peer float64, note string, err error) {
	client, agent, err := wgEnds()
	if err != nil {
		return 0, 0, "", err
	}
	plain, err := b.plainWireguard(b.net.Client, client, agent, agentAddr)
	if err != nil {
		return 0, 0, "", err
	}
	defer plain.stop()
	if output, err := stack.Causeway(b.ctx, "ping", rig.Name, "-c", "2"); err != nil {
		return 0, 0, "", fmt.Errorf("%w: %s", err, output)
	}
	time.Sleep(b.idle)
	if peer, err = memory(plain.pid(), "VmRSS"); err != nil {
		return 0, 0, "", err
	}
	if ours, err = memory(stack.Daemon.PID(), "VmRSS"); err != nil {
		return 0, 0, "", err
	}
	file, err := memory(stack.Daemon.PID(), "RssFile")
	return ours, peer, fmt.Sprintf("after %v; %.1f MB of it are pages of the program file, which the kernel may drop.", b.idle, file), err
}

// memoryOfMany restarts server and daemon with many agents known.
func (b *bench) memoryOfMany(stack *rig.Stack) (float64, error) {
	if err := stack.Daemon.Stop(); err != nil {
		return 0, err
	}
	if err := b.addAgents(stack, manyAgents); err != nil {
		return 0, fmt.Errorf("add agents: %w", err)
	}
	if err := stack.Server.Stop(); err != nil {
		return 0, err
	}
	if err := stack.StartServer(b.ctx); err != nil {
		return 0, err
	}
	if err := stack.StartDaemon(b.ctx, quietLog...); err != nil {
		return 0, err
	}
	var status agentStatus
	known := sleepUntil(60*time.Second, func() bool {
		time.Sleep(500 * time.Millisecond)
		var err error
		status, err = b.status(stack)
		return err == nil && len(status.Agents) > manyAgents
	})
	if !known {
		return 0, fmt.Errorf("wait for %d agents: the daemon knows %d", manyAgents, len(status.Agents))
	}
	time.Sleep(b.idle)
	return memory(stack.Daemon.PID(), "VmRSS")
}

// memoryOfPeers compares two engines that differ only in the peers they know.
func (b *bench) memoryOfPeers() (float64, error) {
	var sizes [2]float64
	for i, known := range []int{0, manyAgents} {
		p, err := b.start(b.net.Proxy, "known", nil, nil, "node", "engine", "-device", "cw-known", "-known", strconv.Itoa(known))
		if err != nil {
			return 0, err
		}
		if err := p.ready(b.ctx); err != nil {
			return 0, err
		}
		b.pause(10 * time.Second)
		if sizes[i], err = memory(p.pid(), "VmRSS"); err != nil {
			return 0, err
		}
		p.stop()
	}
	return sizes[1] - sizes[0], nil
}

// restarts times the daemon's end and its start, in ms. The tunnel comes up by
// itself after each start.
func (b *bench) restarts(stack *rig.Stack) (starts, stops []float64, err error) {
	socket := filepath.Join("/proc", strconv.Itoa(b.net.Client.PID()), "root", daemonSocket)
	for range max(5, b.pairs) {
		began := time.Now()
		if err := stack.Daemon.Stop(); err != nil {
			return nil, nil, err
		}
		stops = append(stops, time.Since(began).Seconds()*1000)
		took, err := b.startDaemon(stack, socket)
		if err != nil {
			return nil, nil, err
		}
		starts = append(starts, took.Seconds()*1000)
		if _, err := stack.Causeway(b.ctx, "up", "--wait"); err != nil {
			return nil, nil, err
		}
	}
	return starts, stops, nil
}

// startDaemon is the time from exec to the first answer of the local API.
func (b *bench) startDaemon(stack *rig.Stack, socket string) (time.Duration, error) {
	began := time.Now()
	var took time.Duration
	answered := make(chan bool)
	go func() {
		answered <- sleepUntil(20*time.Second, func() bool {
			api, err := localapi.Dial(b.ctx, socket)
			if err != nil {
				return false
			}
			defer api.Close()
			_, err = api.GetStatus(b.ctx, &localv1.GetStatusRequest{})
			took = time.Since(began)
			return err == nil
		})
	}()
	err := stack.StartDaemon(b.ctx, quietLog...)
	if !<-answered && err == nil {
		err = fmt.Errorf("no answer at %s", socket)
	}
	return took, err
}
