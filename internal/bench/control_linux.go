package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/causewayhq/causeway/internal/rig"
	"github.com/causewayhq/causeway/internal/testnet"
)

// measure runs a measuring command of the node program, and reads its figures.
func (b *bench) measure(host *testnet.Host, args ...string) (map[string][]float64, error) {
	cmd := host.Command(b.ctx, filepath.Join(b.dir, "node"), args...)
	var output, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &complaint
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("measure %s: %w: %s", args[0], err, complaint.String())
	}
	figures := map[string][]float64{}
	if err := json.Unmarshal(output.Bytes(), &figures); err != nil {
		return nil, fmt.Errorf("read figures of %s: %w: %q", args[0], err, output.String())
	}
	return figures, nil
}

// control is bars 4 and 5, and the reconnect storm of bar 12.
func (b *bench) control() ([]row, error) {
	drops := 100
	if b.quick {
		drops = 20
	}
	got, err := b.measure(b.net.Proxy, "reconnect", "-drops", strconv.Itoa(drops), "-rounds", strconv.Itoa(min(b.pairs, 4)))
	if err != nil {
		return nil, err
	}
	rows := []row{
		{metric: "control: back after a clean drop, p50", unit: "ms", ours: got["p50"], peer: got["bound p50"], target: &target{limit: 1.1}},
		{
			metric: "control: back after a clean drop, p99", unit: "ms", ours: got["p99"], peer: got["bound p99"], target: &target{limit: 1.1},
			note: fmt.Sprintf("%d drops in each round, on loopback. The peer is the computed bound: 50 ms, jitter of as much (half of it for p50), and the dial, which is measured beside each drop.", drops),
		},
	}
	stack := rig.New(b.net, b.dir, b.dir)
	defer stack.Close()
	if err := stack.StartServer(b.ctx); err != nil {
		return rows, err
	}
	token, err := stack.AddUser(b.ctx, rig.Owner)
	if err != nil {
		return rows, err
	}
	more, err := b.blackhole(stack, token)
	if rows = append(rows, more...); err != nil {
		return rows, err
	}
	more, err = b.storm(stack, token)
	return append(rows, more...), err
}

// event is one line of the loops.
type event struct {
	up   bool
	loop int
	at   time.Time
}

// loops is a process with control loops, and what it has said.
type loops struct {
	*process
	kick   io.WriteCloser
	mu     sync.Mutex
	events []event
}

func (b *bench) startLoops(name string, stack *rig.Stack, tokens []string, count int) (*loops, error) {
	stdin, kick, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	output, stdout, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, stdin.Close(), kick.Close())
	}
	l := &loops{kick: kick}
	l.process, err = b.start(b.net.Client, name, stdin, stdout, "node", "loops", "-server", stack.URL, "-tokens", strings.Join(tokens, ","), "-count", strconv.Itoa(count))
	err = errors.Join(err, stdin.Close(), stdout.Close())
	if err != nil {
		return nil, errors.Join(err, kick.Close(), output.Close())
	}
	go func() {
		defer output.Close()
		lines := bufio.NewScanner(output)
		for lines.Scan() {
			l.hear(strings.Fields(lines.Text()))
		}
	}()
	return l, nil
}

func (l *loops) hear(fields []string) {
	if len(fields) < 3 {
		return
	}
	loop, err := strconv.Atoi(fields[1])
	nanoseconds, timeErr := strconv.ParseInt(fields[2], 10, 64)
	if err != nil || timeErr != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, event{fields[0] == "up", loop, time.Unix(0, nanoseconds)})
}

// first gives, for each loop, its first change of a kind after a time.
func (l *loops) first(up bool, after time.Time) map[int]time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	found := map[int]time.Time{}
	for _, e := range l.events {
		if _, known := found[e.loop]; !known && e.up == up && e.at.After(after) {
			found[e.loop] = e.at
		}
	}
	return found
}

// await waits until so many loops have had such a change.
func (l *loops) await(count int, up bool, after time.Time, limit time.Duration) (map[int]time.Time, error) {
	var found map[int]time.Time
	if !sleepUntil(limit, func() bool {
		time.Sleep(10 * time.Millisecond)
		found = l.first(up, after)
		return len(found) >= count
	}) {
		return found, fmt.Errorf("wait for loops: %d of %d after %v", len(found), count, limit)
	}
	return found, nil
}

const (
	// noticed is within what a silent connection must be left: a ping every 5 s, and 5 s for its answer.
	noticed = 10 * time.Second
	// nextTry is within what a loop dials again after the network is back.
	nextTry = 10 * time.Second
)

// blackhole is bar 5: nothing comes through and nobody is told. One loop is
// told by its host that the network is back, the other is not.
func (b *bench) blackhole(stack *rig.Stack, token string) (rows []row, err error) {
	silence, rounds := 30*time.Second, 2
	if b.quick {
		silence, rounds = 12*time.Second, 1
	}
	var both [2]*loops
	for i, name := range []string{"left-alone", "kicked"} {
		if both[i], err = b.startLoops(name, stack, []string{token}, 1); err != nil {
			return nil, err
		}
		defer both[i].kick.Close()
		if _, err := both[i].await(1, true, time.Time{}, 20*time.Second); err != nil {
			return nil, err
		}
	}
	var left, alone, kicked []float64
	for range rounds {
		b.pause(time.Second)
		began := time.Now()
		if err := b.shadow(true); err != nil {
			return nil, err
		}
		b.wait(silence)
		healed := time.Now()
		if err := b.shadow(false); err != nil {
			return nil, err
		}
		if _, err := io.WriteString(both[1].kick, "kick\n"); err != nil {
			return nil, err
		}
		for i, into := range []*[]float64{&alone, &kicked} {
			down, err := both[i].await(1, false, began, time.Second)
			if err != nil {
				return nil, err
			}
			left = append(left, down[0].Sub(began).Seconds())
			back, err := both[i].await(1, true, healed, 40*time.Second)
			if err != nil {
				return nil, err
			}
			*into = append(*into, back[0].Sub(healed).Seconds())
		}
	}
	return []row{
		{metric: "control: blackhole noticed", unit: "s", ours: left, target: &target{limit: noticed.Seconds() * 1.05, amount: true}, note: fmt.Sprintf("nftables drops everything between client and server for %v.", silence)},
		{metric: "control: back after a blackhole, not told", unit: "s", ours: alone, target: &target{limit: nextTry.Seconds() * 1.05, amount: true}, note: "from the first packet that passes again. The limit is the computed bound, 10 s, times 1.05."},
		{metric: "control: back after a blackhole, network change", unit: "s", ours: kicked, target: &target{limit: 0.5, amount: true}, note: "the operating system's event comes as the network does."},
	}, nil
}

// wait sleeps, also in a quick run.
func (b *bench) wait(lasting time.Duration) {
	select {
	case <-b.ctx.Done():
	case <-time.After(lasting):
	}
}

// shadow drops every packet between client and server, or no more.
func (b *bench) shadow(on bool) error {
	rules := "delete table inet shadow\n"
	if on {
		rules = "table inet shadow {\n\tchain in { type filter hook input priority -10; ip saddr " + testnet.ServerAddr + " drop; }\n" +
			"\tchain out { type filter hook output priority -10; ip daddr " + testnet.ServerAddr + " drop; }\n}\n"
	}
	_, err := b.net.Client.Run(b.ctx, "sh", "-c", `printf %s "$1" | nft -f -`, "sh", rules)
	return err
}

const (
	stormSize  = 1000
	stormUsers = 20 // an account may have only so many connections
	stormBin   = 100 * time.Millisecond
)

// storm restarts a server with many clients.
func (b *bench) storm(stack *rig.Stack, token string) ([]row, error) {
	tokens := []string{token}
	for i := range stormUsers - 1 {
		more, err := stack.AddUser(b.ctx, "user"+strconv.Itoa(i))
		if err != nil {
			return nil, err
		}
		tokens = append(tokens, more)
	}
	crowd, err := b.startLoops("storm", stack, tokens, stormSize)
	if err != nil {
		return nil, err
	}
	defer crowd.stop()
	defer crowd.kick.Close()
	if _, err := crowd.await(stormSize, true, time.Time{}, 60*time.Second); err != nil {
		return nil, err
	}
	var all, largest, perClient []float64
	for range min(b.pairs, 3) {
		b.pause(5 * time.Second)
		size, err := memory(stack.Server.PID(), "VmRSS")
		if err != nil {
			return nil, err
		}
		perClient = append(perClient, size*1024/stormSize)
		began := time.Now()
		if err := stack.Server.Stop(); err != nil {
			return nil, err
		}
		if err := stack.StartServer(b.ctx); err != nil {
			return nil, err
		}
		back, err := crowd.await(stormSize, true, began, 60*time.Second)
		if err != nil {
			return nil, err
		}
		bins, last := map[time.Duration]int{}, began
		for _, at := range back {
			bins[at.Sub(began)/stormBin]++
			if at.After(last) {
				last = at
			}
		}
		most := 0
		for _, count := range bins {
			most = max(most, count)
		}
		all, largest = append(all, last.Sub(began).Seconds()), append(largest, 100*float64(most)/stormSize)
	}
	return []row{
		{metric: "control: 1,000 clients back after a restart", unit: "s", ours: all, target: &target{limit: 15, amount: true}, note: "from SIGTERM to causeway-server, which is then started again at once, to the last client's first answer."},
		{metric: "control: largest share of them in 100 ms", unit: "%", ours: largest, target: &target{limit: 5, amount: true}},
		{metric: "server: RSS for each of 1,000 clients", unit: "KB", ours: perClient, target: &target{limit: 48, amount: true}, note: "all of the process, divided by the clients; each has one connection with three streams open."},
	}, nil
}
