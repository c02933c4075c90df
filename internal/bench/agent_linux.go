package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"time"

	"github.com/causewayhq/causeway/internal/rig"
)

const (
	iperfPort = "5201"
	iperf     = "/usr/bin/iperf3"
	// manySessions is how many SSH sessions the reading of the agent's memory has.
	manySessions = 100
)

// agentPart measures the agent's network stack against a TUN device in its
// place, `causeway speedtest` against iperf3, and what sessions cost.
func (b *bench) agentPart() (rows []row, err error) {
	stack := rig.New(b.net, b.dir, b.dir)
	defer func() {
		if stopErr := stack.Close(); err == nil {
			err = stopErr
		}
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
	if output, err := stack.Causeway(b.ctx, "ping", rig.Name, "--until-direct", "-c", "30"); err != nil {
		return nil, fmt.Errorf("%w: %s", err, output)
	}
	_, relay, err := b.relayOn("ours", relayPort)
	if err != nil {
		return nil, err
	}
	peer, err := b.engines("direct", relay)
	if err != nil {
		return nil, err
	}
	address, err := b.agentAddress(stack)
	if err != nil {
		return nil, err
	}
	ours := way{address: address, pids: []int{stack.Daemon.PID(), stack.Agent.PID()}}
	// First, while the heap is small.
	memory, err := b.sessions(stack, address)
	if err != nil {
		return nil, err
	}
	if rows, err = b.stackAgainstDevice(ours, way{address: peer.address, pids: peer.pids()}); err != nil {
		return rows, err
	}
	speed, err := b.speedtest(stack, ours)
	return append(append(rows, speed...), memory...), err
}

// way is a tunnel to the agent's host and the processes that carry it.
type way struct {
	address string
	pids    []int
}

// stackAgainstDevice sends both ways through both tunnels, in turn.
func (b *bench) stackAgainstDevice(ours, peer way) (rows []row, err error) {
	server, err := b.iperfServer()
	if err != nil {
		return nil, err
	}
	defer server.stop()
	for _, each := range []struct {
		name string
		args []string
	}{{"to the workspace", nil}, {"from the workspace", []string{"-R"}}} {
		var a, d collected
		via := func(w way, into *collected) func() error {
			return func() error {
				got, err := b.iperf(w, server, each.args...)
				if err == nil {
					into.add(got)
				}
				return err
			}
		}
		// The first ones warm both up.
		for _, w := range []way{ours, peer} {
			if _, err := b.iperf(w, server, each.args...); err != nil {
				return rows, err
			}
		}
		if err := b.inTurn(via(ours, &a), via(peer, &d)); err != nil {
			return rows, err
		}
		rows = append(rows,
			row{metric: "agent: TCP " + each.name, unit: "Mbit/s", ours: a.rates, peer: d.rates},
			row{metric: "agent: TCP " + each.name + ", CPU", unit: "s/GB", ours: a.cpus, peer: d.cpus})
	}
	rows[0].note = "the programs as shipped: the daemon's TUN device, direct path, the agent's network stack, a port of localhost; the peer is a TUN device at either end (our engine). iperf3, one stream; CPU is of both tunnel programs and both of iperf3."
	return rows, nil
}

// iperfServer runs in the workspace, also where a TUN device leads.
func (b *bench) iperfServer() (*process, error) {
	server, err := b.start(b.net.Agent, "iperf3", nil, nil, iperf, "-s", "-p", iperfPort, "--forceflush")
	if err != nil {
		return nil, err
	}
	listening := sleepUntil(10*time.Second, func() bool {
		_, err := b.net.Agent.Run(b.ctx, "sh", "-c", "ss -ltn | grep -q :"+iperfPort)
		return err == nil
	})
	if !listening {
		return nil, fmt.Errorf("start iperf3: nothing listens on port %s", iperfPort)
	}
	return server, nil
}

// iperf is one run of it from the client.
func (b *bench) iperf(w way, server *process, args ...string) (sample, error) {
	seconds := strconv.Itoa(int(math.Ceil(b.lasting.Seconds())))
	client := b.net.Client.Command(b.ctx, iperf, append([]string{"-c", w.address, "-p", iperfPort, "-t", seconds, "-J"}, args...)...)
	var output, complaint bytes.Buffer
	client.Stdout, client.Stderr = &output, &complaint
	pids := append([]int{server.pid()}, w.pids...)
	before, err := cpu(pids...)
	if err != nil {
		return sample{}, err
	}
	if err := client.Run(); err != nil {
		return sample{}, fmt.Errorf("run iperf3 to %s: %w: %s%s", w.address, err, complaint.String(), output.String())
	}
	after, err := cpu(pids...)
	if err != nil {
		return sample{}, err
	}
	var result struct {
		End struct {
			Received struct {
				Bytes   float64
				Seconds float64
			} `json:"sum_received"`
		}
	}
	if err := json.Unmarshal(output.Bytes(), &result); err != nil || result.End.Received.Bytes == 0 {
		return sample{}, fmt.Errorf("read result of iperf3: %w: %.500s", err, output.String())
	}
	got := result.End.Received
	spent := after - before + (client.ProcessState.UserTime() + client.ProcessState.SystemTime()).Seconds()
	return sample{rate: got.Bytes * 8 / 1e6 / got.Seconds, cpu: spent / (got.Bytes / gigabyte)}, nil
}

// speedtest runs the product's own measurement beside iperf3 on the same way.
func (b *bench) speedtest(stack *rig.Stack, ours way) (rows []row, err error) {
	server, err := b.iperfServer()
	if err != nil {
		return nil, err
	}
	defer server.stop()
	for _, each := range []struct {
		direction string
		args      []string
	}{{"up", nil}, {"down", []string{"-R"}}} {
		var own, other []float64
		err := b.inTurn(func() error {
			output, err := stack.Causeway(b.ctx, "speedtest", rig.Name, "--direction", each.direction, "--duration", b.lasting.String(), "--json")
			if err != nil {
				return fmt.Errorf("%w: %s", err, output)
			}
			var result struct {
				Total struct {
					Mbits float64 `json:"mbits_per_second"`
				}
			}
			if err := json.Unmarshal([]byte(output), &result); err != nil {
				return fmt.Errorf("read speedtest: %w", err)
			}
			own = append(own, result.Total.Mbits)
			return nil
		}, func() error {
			got, err := b.iperf(ours, server, each.args...)
			other = append(other, got.rate)
			return err
		})
		if err != nil {
			return rows, err
		}
		rows = append(rows, row{metric: "`causeway speedtest` " + each.direction, unit: "Mbit/s", ours: own, peer: other})
	}
	rows[0].note = "the peer is iperf3 through the same tunnel, to a port of the workspace: it has the way from the agent to localhost in addition."
	return rows, nil
}

// sessions reads the agent's memory without and with sessions of real clients,
// each of which runs a command that waits for its input.
func (b *bench) sessions(stack *rig.Stack, address string) ([]row, error) {
	if _, err := netip.ParseAddr(address); err != nil {
		return nil, fmt.Errorf("read address of the agent: %w", err)
	}
	idle, err := memory(stack.Agent.PID(), "VmRSS")
	if err != nil {
		return nil, err
	}
	script := fmt.Sprintf(`work=$(mktemp -d); trap 'kill $(jobs -p); wait; rm -rf "$work"; exit' TERM
for i in $(seq %d); do
  sleep 600 | ssh -F none -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR dev@%s 'echo up; cat >/dev/null' > "$work/$i" &
done
until [ "$(cat "$work"/* | grep -c up)" = %d ]; do sleep 0.2; done
echo ready
wait`, manySessions, address, manySessions)
	clients, err := b.start(b.net.Client, "sessions", nil, nil, "/bin/sh", "-c", script)
	if err != nil {
		return nil, err
	}
	defer clients.stop()
	if err := clients.readyWithin(b.ctx, 2*time.Minute); err != nil {
		return nil, err
	}
	b.pause(5 * time.Second)
	loaded, err := memory(stack.Agent.PID(), "VmRSS")
	if err != nil {
		return nil, err
	}
	return []row{
		{metric: "agent: RSS without a session", unit: "MB", ours: []float64{idle}},
		{metric: fmt.Sprintf("agent: RSS with %d sessions", manySessions), unit: "MB", ours: []float64{loaded}},
		{metric: "agent: RSS for each session", unit: "MB", ours: []float64{(loaded - idle) / manySessions}},
	}, nil
}
