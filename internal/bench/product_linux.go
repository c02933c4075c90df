package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/causewayhq/causeway/internal/rig"
)

// manyAgents is how many agents the second reading of the daemon's memory knows.
const manyAgents = 1000

// product measures the programs as they are shipped: bars 3 and 14, and
// without a bar the way from the TUN device to a port of the workspace.
func (b *bench) product() (rows []row, err error) {
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
	for _, part := range []func(*rig.Stack) ([]row, error){b.copyToWorkspace, b.upToReply, b.footprint} {
		made, err := part(stack)
		rows = append(rows, made...)
		if err != nil {
			return rows, err
		}
	}
	return rows, nil
}

// quietLog is how a daemon logs that nobody debugs; the rig's own choice costs time.
var quietLog = []string{"--log-level", "info"}

func (b *bench) startStack(stack *rig.Stack) error {
	if err := stack.StartServer(b.ctx); err != nil {
		return err
	}
	user, err := stack.AddUser(b.ctx, rig.Owner)
	if err != nil {
		return err
	}
	agent, err := stack.AddAgent(b.ctx, rig.Owner, rig.Workspace, rig.Agent)
	if err != nil {
		return err
	}
	if err := stack.StartAgent(b.ctx, agent); err != nil {
		return err
	}
	if err := stack.StartDaemon(b.ctx, quietLog...); err != nil {
		return err
	}
	return stack.Login(b.ctx, user)
}

// agentStatus is what the bench reads of `causeway status --json`.
type agentStatus struct {
	Agents []struct {
		Addresses []string
		Path      string
	}
}

func (b *bench) status(stack *rig.Stack) (status agentStatus, err error) {
	output, err := stack.On(b.ctx, stack.Path("causeway"), "status", "--json").Output()
	if len(output) == 0 && err != nil {
		return status, fmt.Errorf("ask for status: %w", err)
	}
	if err := json.Unmarshal(output, &status); err != nil {
		return status, fmt.Errorf("read status: %w", err)
	}
	return status, nil
}

func (b *bench) agentAddress(stack *rig.Stack) (string, error) {
	status, err := b.status(stack)
	if err != nil {
		return "", err
	}
	if len(status.Agents) == 0 || len(status.Agents[0].Addresses) == 0 {
		return "", errors.New("read status: no agent with an address")
	}
	return status.Agents[0].Addresses[0], nil
}

// copyToWorkspace sends to a port of the workspace.
func (b *bench) copyToWorkspace(stack *rig.Stack) ([]row, error) {
	if output, err := stack.Causeway(b.ctx, "ping", rig.Name, "--until-direct", "-c", "30"); err != nil {
		return nil, fmt.Errorf("%w: %s", err, output)
	}
	address, err := b.agentAddress(stack)
	if err != nil {
		return nil, err
	}
	sink, err := b.sink(b.net.Agent, "127.0.0.1:"+sinkPort)
	if err != nil {
		return nil, err
	}
	defer sink.stop()
	send := func(size int) (sample, error) {
		return b.transfer("["+address+"]:"+sinkPort, size, 1, sink, stack.Daemon.PID(), stack.Agent.PID())
	}
	size, err := b.sized(send)
	if err != nil {
		return nil, err
	}
	var got collected
	for range b.pairs {
		if err := sampled(&got, func() (sample, error) { return send(size) }); err != nil {
			return nil, err
		}
	}
	return []row{
		{metric: "TCP to a workspace port, 1 stream", unit: "Mbit/s", ours: got.rates, note: "the product's programs: daemon's TUN device, direct path, agent's network stack, localhost."},
		{metric: "TCP to a workspace port, CPU", unit: "s/GB", ours: got.cpus},
	}, nil
}

// upToReply is bar 3.
func (b *bench) upToReply(stack *rig.Stack) ([]row, error) {
	address, err := b.agentAddress(stack)
	if err != nil {
		return nil, err
	}
	client, agent, err := wgEnds()
	if err != nil {
		return nil, err
	}
	remote, err := b.plainWireguard(b.net.Agent, agent, client, clientAddr)
	if err != nil {
		return nil, err
	}
	defer remote.stop()
	if err := remote.ready(b.ctx); err != nil {
		return nil, err
	}
	var ours, peer []float64
	timed := func(into *[]float64, address string, begin func() error, end func() error) func() error {
		return func() error {
			took, err := b.untilReply(address, begin)
			if err != nil {
				return err
			}
			*into = append(*into, took.Seconds()*1000)
			return end()
		}
	}
	causeway := func(command string) func() error {
		return func() error { _, err := stack.Causeway(b.ctx, command); return err }
	}
	if err := causeway("down")(); err != nil {
		return nil, err
	}
	var local *process
	err = b.inTurn(
		timed(&ours, address, causeway("up"), func() error { b.pause(2 * time.Second); return causeway("down")() }),
		timed(&peer, agent.address, func() (err error) {
			local, err = b.plainWireguard(b.net.Client, client, agent, agentAddr)
			return err
		}, func() error { local.stop(); return nil }))
	if err != nil {
		return nil, err
	}
	return []row{{
		metric: "`up` to the first reply", unit: "ms", ours: ours, peer: peer, target: &target{limit: 250, amount: true, stretch: "120"},
		note: "ours from the start of `causeway up` (TUN device, host's network, control connection, coordination, handshake, echo); the peer from the start of wireguard-go with its keys at hand (TUN device, handshake, echo).",
	}}, nil
}

// untilReply is the time from begin to the first ICMP echo reply of an address.
func (b *bench) untilReply(address string, begin func() error) (time.Duration, error) {
	asker := b.net.Client.Command(b.ctx, filepath.Join(b.dir, "node"), "first-reply", "-addr", address)
	var complaint strings.Builder
	asker.Stderr = &complaint
	output, err := asker.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := asker.Start(); err != nil {
		return 0, err
	}
	lines := bufio.NewReader(output)
	if line, err := lines.ReadString('\n'); line != "ready\n" {
		return 0, fmt.Errorf("start asking %s: %w: %s", address, errors.Join(err, asker.Wait()), complaint.String())
	}
	began := time.Now()
	beginErr := begin()
	line, _ := lines.ReadString('\n')
	if err := errors.Join(beginErr, asker.Wait()); err != nil {
		return 0, fmt.Errorf("wait for reply of %s: %w: %s", address, err, complaint.String())
	}
	nanoseconds, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read time of reply: %w", err)
	}
	return time.Duration(nanoseconds - began.UnixNano()), nil
}

// addAgents makes workspaces with an agent each, by the server's own command.
func (b *bench) addAgents(stack *rig.Stack, count int) error {
	script := fmt.Sprintf(`for i in $(seq %d); do "$1" workspace create %s/many$i; "$1" agent create %s/many$i/%s; done >/dev/null`, count, rig.Owner, rig.Owner, rig.Agent)
	_, err := b.net.Server.Run(b.ctx, "sh", "-ec", script, "sh", stack.Path("causeway-server"))
	return err
}
