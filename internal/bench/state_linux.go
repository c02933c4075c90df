package main

import (
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/causewayhq/causeway/proto"
)

// state is bars 8 and 9.
func (b *bench) state() ([]row, error) {
	rows, err := b.changes()
	if err != nil {
		return rows, err
	}
	more, err := b.namesWhileLanding()
	return append(rows, more...), err
}

// changes runs the benchmarks of the way from a message of the control plane to
// the resolver's table and the wanted host state, which package tunnel has.
func (b *bench) changes() ([]row, error) {
	binary := filepath.Join(b.dir, "tunnel.test")
	if output, err := exec.CommandContext(b.ctx, "go", "test", "-c", "-o", binary, "./tunnel").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build benchmarks: %w\n%s", err, output)
	}
	times := "1s"
	if b.quick {
		times = "200ms"
	}
	cmd := b.net.Proxy.Command(b.ctx, binary, "-test.run", "^$", "-test.bench", "^(BenchmarkSnapshot10k|BenchmarkOneChange)$",
		"-test.count", strconv.Itoa(b.pairs), "-test.benchtime", times)
	output, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("run benchmarks: %w\n%s", err, output)
	}
	read := func(name, unit string, scale float64) []float64 {
		return benchmarked(string(output), name, unit, scale)
	}
	return []row{
		{metric: "state: first snapshot of 10,000 agents, CPU", unit: "ms", ours: read("Snapshot10k", "cpu-µs/op", 1e-3), target: &target{limit: 50, amount: true, stretch: "25"}, note: "from its bytes to the resolver's table and the wanted host state, all garbage collected."},
		{metric: "state: one change among 10,000, CPU", unit: "µs", ours: read("OneChange/10000", "cpu-µs/op", 1), peer: read("OneChange/100", "cpu-µs/op", 1), target: &target{limit: 100, amount: true}, note: "the peer is the same change among 100."},
		{metric: "state: one change among 10,000, of 100's CPU", unit: "µs", ours: read("OneChange/10000", "cpu-µs/op", 1), peer: read("OneChange/100", "cpu-µs/op", 1), target: &target{limit: 2}},
		{metric: "state: one change among 10,000, garbage", unit: "KB", ours: read("OneChange/10000", "B/op", 1.0/1024), target: &target{limit: 16, amount: true}},
	}, nil
}

// benchmarked reads one metric of one benchmark from the output of `go test -bench`.
func benchmarked(output, name, unit string, scale float64) (values []float64) {
	for line := range strings.Lines(output) {
		fields := strings.Fields(line)
		if len(fields) < 4 {
			continue
		}
		// With more than one CPU their number follows.
		ran, _, _ := strings.Cut(fields[0], "-")
		if ran != "Benchmark"+name {
			continue
		}
		for i := 2; i+1 < len(fields); i += 2 {
			if value, err := strconv.ParseFloat(fields[i], 64); err == nil && fields[i+1] == unit {
				values = append(values, value*scale)
			}
		}
	}
	return values
}

// namesWhileLanding is bar 8: one server, with and without snapshots.
func (b *bench) namesWhileLanding() ([]row, error) {
	server, err := b.start(b.net.Client, "landing", nil, nil, "node", "engine", "-device", "cw-landing", "-service", "snapshots")
	if err != nil {
		return nil, err
	}
	defer server.stop()
	if err := server.ready(b.ctx); err != nil {
		return nil, err
	}
	address := net.JoinHostPort(proto.DNSAddr.String(), "53")
	var late99, late999, quiet99, quiet999 []float64
	lost := [2]float64{}
	ask := func(signal syscall.Signal, p99, p999 *[]float64, lost *float64) func() error {
		return func() error {
			if err := server.cmd.Process.Signal(signal); err != nil {
				return err
			}
			got, err := b.measure(b.net.Client, "dns-pace", "-addr", address, "-rate", "5000", "-for", b.lasting.String())
			if err != nil {
				return err
			}
			*p99, *p999 = append(*p99, got["p99"]...), append(*p999, got["p99.9"]...)
			*lost += got["lost"][0]
			return nil
		}
	}
	err = b.inTurn(ask(syscall.SIGUSR1, &late99, &late999, &lost[0]), ask(syscall.SIGUSR2, &quiet99, &quiet999, &lost[1]))
	if err != nil {
		return nil, err
	}
	return []row{
		{
			metric: "DNS p99 while 10,000-agent snapshots land", unit: "µs", ours: late99, peer: quiet99, target: &target{limit: 1.25},
			note: fmt.Sprintf("ten whole snapshots a second, each with 100 names changed; 5,000 queries a second at a fixed rate. The peer is the same server without snapshots. An answer that is no address would end the run. Lost: ours %.0f, peer %.0f.", lost[0], lost[1]),
		},
		{metric: "DNS p99.9 while 10,000-agent snapshots land", unit: "µs", ours: late999, peer: quiet999, target: &target{limit: 2}},
	}, nil
}
