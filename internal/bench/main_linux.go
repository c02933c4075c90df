package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/causewayhq/causeway/internal/testnet"
)

// bench is one run.
type bench struct {
	ctx context.Context
	// dir has the programs and their logs. It is not below /tmp, which each
	// host has for itself.
	dir       string
	quick     bool
	pairs     int
	lasting   time.Duration // of one transfer, about
	idle      time.Duration // before memory is read
	net       *testnet.Topology
	processes []*process
	canaries  []float64
	profile   bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGHUP, os.Interrupt)
	code := run(ctx)
	stop()
	os.Exit(code)
}

func run(ctx context.Context) int {
	var b bench
	output := flag.String("o", "docs/reports/bench.md", "file for the report, \"\" for none")
	only := flag.String("only", "", "comma-separated parts: tunnel, relay, dns, product, agent, idle, control, state, peers, coordinator, rpc")
	keep := flag.String("keep", "", "directory for programs, logs and profiles, kept")
	pairs := flag.Int("pairs", 0, "measurements of each side, 0 for the usual number")
	flag.BoolVar(&b.quick, "quick", false, "fewer pairs and shorter transfers, to try something")
	flag.BoolVar(&b.profile, "profile", false, "write CPU profiles of the programs under test into the directory of -keep")
	flag.Parse()
	b.ctx, b.pairs, b.lasting, b.idle = ctx, 7, 4*time.Second, 30*time.Second
	if b.quick {
		b.pairs, b.lasting, b.idle = 3, 1500*time.Millisecond, 5*time.Second
	}
	if *pairs > 0 {
		b.pairs = *pairs
	}
	rows, about, err := b.everything(*only, *keep)
	if len(rows) > 0 {
		fmt.Print(table(about, rows))
		if *output != "" {
			err = errors.Join(err, os.WriteFile(*output, []byte(table(about, rows)), 0o644))
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 1
	}
	return 0
}

// everything runs the parts, each with a network of its own.
func (b *bench) everything(only, keep string) (rows []row, about facts, err error) {
	if b.dir = keep; keep == "" {
		if b.dir, err = os.MkdirTemp("/var/tmp", "causeway-bench-"); err != nil {
			return nil, about, err
		}
		defer os.RemoveAll(b.dir)
	} else if err := os.MkdirAll(keep, 0o755); err != nil {
		return nil, about, err
	}
	say("building")
	if err := b.build(); err != nil {
		return nil, about, err
	}
	// The compiler is part of the load; what counts is the machine without us.
	b.pause(10 * time.Second)
	about = gatherFacts(b)
	for _, part := range []struct {
		name string
		run  func() ([]row, error)
	}{{"tunnel", b.tunnel}, {"relay", b.relay}, {"dns", b.names}, {"product", b.product}, {"agent", b.agentPart}, {"idle", b.idleCost}, {"control", b.control},
		{"state", b.state}, {"peers", b.peers}, {"coordinator", b.coordinator}, {"rpc", b.rpc}} {
		if only != "" && !strings.Contains(","+only+",", ","+part.name+",") {
			continue
		}
		say(part.name)
		made, partErr := b.within(part.run)
		rows = append(rows, made...)
		if partErr != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", part.name, partErr))
		}
	}
	about.finish(b)
	return rows, about, err
}

// within gives a part a network, and takes down what it leaves.
func (b *bench) within(part func() ([]row, error)) (rows []row, err error) {
	if b.net, err = testnet.New(b.ctx, testnet.Public, testnet.Public); err != nil {
		return nil, err
	}
	defer func() {
		b.stopAll()
		err = errors.Join(err, b.net.Close())
	}()
	return part()
}

// inTurn measures ours and the peer alternately, and the canary before each pair.
func (b *bench) inTurn(ours, peer func() error) error {
	for range b.pairs {
		if err := b.canary(); err != nil {
			return err
		}
		if err := ours(); err != nil {
			return err
		}
		if err := peer(); err != nil {
			return err
		}
	}
	return nil
}

// pause lets the machine come to rest.
func (b *bench) pause(lasting time.Duration) {
	if b.quick {
		lasting = min(lasting, time.Second)
	}
	select {
	case <-b.ctx.Done():
	case <-time.After(lasting):
	}
}

func say(text string) { fmt.Fprintln(os.Stderr, "bench:", time.Now().Format(time.TimeOnly), text) }
