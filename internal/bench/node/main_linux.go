package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/pprof"
	"syscall"
)

const usage = `usage: node COMMAND [FLAGS]
  engine      one end of a tunnel; the node of the other end comes on stdin, ours goes to stdout
  relay       a relay with TLS and STUN
  dns-serve   a DNS server on a UDP socket
  dns-load    queries with a window of unanswered ones; prints answers and seconds
  rpc         round trips in the product's framing and on bare dRPC
  reconnect   a control connection that is cut, and comes back
  loops       control connections as desktops have them; prints when they come and go
  fanout      node updates in a coordinator with many peers
  dns-pace    queries at a fixed rate; prints how late the answers are
  first-reply ICMP echo requests until the first reply; prints its time in Unix nanoseconds
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "node:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	commands := map[string]func(context.Context, *flag.FlagSet, []string) error{
		"engine": runEngine, "relay": runRelay, "dns-serve": serveDNS, "dns-load": loadDNS, "first-reply": firstReply,
		"rpc": measureRPC, "reconnect": measureReconnect, "loops": runLoops, "fanout": measureFanOut, "dns-pace": paceDNS,
	}
	if len(args) == 0 || commands[args[0]] == nil {
		fmt.Fprint(os.Stderr, usage)
		return errors.New("bad arguments")
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	return commands[args[0]](ctx, flags, args[1:])
}

// profile writes a CPU profile until the result is called; "" is none.
func profile(path string) (stop func(), err error) {
	if path == "" {
		return func() {}, nil
	}
	file, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		file.Close()
		return nil, fmt.Errorf("profile: %w", err)
	}
	return func() {
		pprof.StopCPUProfile()
		file.Close()
	}, nil
}

// newLogger logs what a user of the product would see by default.
func newLogger(debug bool) *slog.Logger {
	level := slog.LevelInfo
	if debug {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
}
