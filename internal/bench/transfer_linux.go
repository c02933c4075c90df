package main

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"github.com/causewayhq/causeway/internal/testnet"
)

const (
	// sinkPort is where bytes are taken and counted, on every address of the agent.
	sinkPort = "5001"
	gigabyte = 1e9
	// canaryBytes is what the bare wire carries to see how steady the machine is.
	canaryBytes = 256 << 20
)

// sample is one transfer.
type sample struct {
	rate float64 // Mbit/s
	cpu  float64 // CPU seconds for each GB (10^9 bytes) of all processes at both ends
	// of only the first process given, in the same unit
	first float64
}

// transfer sends bytes from the client, by count connections. Its CPU time is
// that of the sender, the sink, and the processes named.
func (b *bench) transfer(to string, size, count int, sink *process, pids ...int) (sample, error) {
	sender := b.net.Client.Command(b.ctx, filepath.Join(b.dir, "probe"), "tcp-send", to, strconv.Itoa(size), strconv.Itoa(count))
	var output, complaint bytes.Buffer
	sender.Stdout, sender.Stderr = &output, &complaint
	pids = append(pids, sink.pid())
	before, firstBefore, err := cpuAndFirst(pids)
	if err != nil {
		return sample{}, err
	}
	if err := sender.Run(); err != nil {
		return sample{}, fmt.Errorf("send %d bytes to %s: %w: %s", size, to, err, complaint.String())
	}
	after, firstAfter, err := cpuAndFirst(pids)
	if err != nil {
		return sample{}, err
	}
	var sent, seconds float64
	if _, err := fmt.Sscan(output.String(), &sent, &seconds); err != nil {
		return sample{}, fmt.Errorf("read result of sender: %w: %q", err, output.String())
	}
	spent := after - before + (sender.ProcessState.UserTime() + sender.ProcessState.SystemTime()).Seconds()
	return sample{rate: sent * 8 / 1e6 / seconds, cpu: spent / (sent / gigabyte), first: (firstAfter - firstBefore) / (sent / gigabyte)}, nil
}

func cpuAndFirst(pids []int) (all, first float64, err error) {
	if all, err = cpu(pids...); err != nil {
		return 0, 0, err
	}
	first, err = cpu(pids[0])
	return all, first, err
}

// sink takes bytes on the agent.
func (b *bench) sink(host *testnet.Host, address string) (*process, error) {
	sink, err := b.start(host, "sink", nil, nil, "probe", "tcp-sink", address)
	if err != nil {
		return nil, err
	}
	return sink, sink.ready(b.ctx)
}

// sized finds how many bytes take about b.lasting, by a first transfer which
// also warms everything up.
func (b *bench) sized(first func(size int) (sample, error)) (int, error) {
	const least = 8 << 20
	warm, err := first(least)
	if err != nil {
		return 0, err
	}
	if warm, err = first(4 * least); err != nil {
		return 0, err
	}
	return max(least, min(4<<30, int(warm.rate*1e6/8*b.lasting.Seconds()))), nil
}

// canary is a transfer over the bare wire.
func (b *bench) canary() error {
	sink, err := b.start(b.net.Proxy, "canary", nil, nil, "probe", "tcp-sink", testnet.ProxyAddr+":"+sinkPort)
	if err != nil {
		return err
	}
	defer sink.stop()
	if err := sink.ready(b.ctx); err != nil {
		return err
	}
	got, err := b.transfer(testnet.ProxyAddr+":"+sinkPort, canaryBytes, 1, sink)
	if err != nil {
		return err
	}
	b.canaries = append(b.canaries, got.rate)
	return nil
}

// collected are the samples of one side.
type collected struct{ rates, cpus, firsts []float64 }

func (c *collected) add(s sample) {
	c.rates = append(c.rates, s.rate)
	c.cpus = append(c.cpus, s.cpu)
	c.firsts = append(c.firsts, s.first)
}

// sleepUntil waits for something that the kernel has no event for.
func sleepUntil(limit time.Duration, done func() bool) bool {
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if done() {
			return true
		}
	}
	return false
}
