package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

const (
	// untilDirectCount is how many pings --until-direct sends without --count:
	// a direct path comes within the first few seconds or not at all soon.
	untilDirectCount = 30
	// searchInterval is the most between two pings after a relayed answer, while
	// a direct path is being looked for, so that the moment it is found is known
	// to a quarter second. After searchSpan the search has failed for now, and
	// the pings left are better spread.
	searchInterval = 250 * time.Millisecond
	searchSpan     = 5 * time.Second
)

type pingJSON struct {
	Version  int         `json:"version"`
	Name     string      `json:"name"` // as the user gave it
	Address  string      `json:"address"`
	Sent     int         `json:"sent"`
	Received int         `json:"received"`
	Direct   bool        `json:"direct"` // the last answer came directly
	Replies  []replyJSON `json:"replies"`
}

type replyJSON struct {
	LatencyMS *float64   `json:"latency_ms"` // null: lost
	Path      string     `json:"path"`
	Endpoint  string     `json:"endpoint"`
	Relay     *relayJSON `json:"relay"`
	Error     string     `json:"error"`
}

// pings is one run of the ping command.
type pings struct {
	app               *app
	client            *localapi.Client
	count             int
	untilDirect       bool
	timeout, interval time.Duration
	asJSON            bool
	out               pingJSON
}

func (a *app) ping() *cobra.Command {
	p := &pings{app: a}
	command := &cobra.Command{
		Use: "ping <name>", Short: "Measure the way to an agent through the tunnel", Args: args(1, 1, "the name of an agent"),
		Long: `Measure the way to an agent: whether it answers, how fast, directly or through
which relay. The packets are the tunnel's own, so this works also where the
agent's machine answers no ICMP.

With --until-direct it ends at the first direct answer, and gives up after 30
pings or the number of --count. The first relayed answers mean that a direct
path is being looked for: for 5 seconds the next ping then follows after 250 ms,
and --interval holds again afterwards.

Exits with 6 if nothing came back, with 8 if --until-direct was not reached.`,
		Example: `  causeway ping myws
  causeway ping main.web --until-direct
  causeway ping myws -c 10 --json | jq .replies[].latency_ms`,
		ValidArgsFunction: a.completeNames,
	}
	command.Flags().IntVarP(&p.count, "count", "c", 4, "number of pings; with --until-direct the most, 30 by default (0: no limit)")
	command.Flags().BoolVar(&p.untilDirect, "until-direct", false, "go on until the first direct answer")
	command.Flags().DurationVar(&p.timeout, "timeout", 5*time.Second, "how long to wait for one answer")
	command.Flags().DurationVar(&p.interval, "interval", time.Second, "time between pings")
	command.Flags().BoolVar(&p.asJSON, "json", false, "print JSON at the end (cli/schema/ping.json)")
	command.RunE = func(cmd *cobra.Command, args []string) error {
		if p.untilDirect && !cmd.Flags().Changed("count") {
			p.count = untilDirectCount
		}
		if p.count < 0 || p.timeout <= 0 || p.interval < 0 {
			return &usageError{cause: "ping: count, timeout and interval must not be negative, and the timeout not 0", remedy: "see: causeway ping --help"}
		}
		client, err := a.dial(cmd.Context())
		if err != nil {
			return err
		}
		defer client.Close()
		p.client = client
		p.out = pingJSON{Version: jsonVersion, Name: args[0], Replies: []replyJSON{}}
		return p.run(cmd.Context(), args[0])
	}
	return command
}

func (p *pings) run(ctx context.Context, name string) error {
	for p.count == 0 || p.out.Sent < p.count {
		if p.out.Sent > 0 && !pause(ctx, p.wait()) {
			break
		}
		if err := p.one(ctx, name); err != nil {
			return err
		}
		if p.untilDirect && p.out.Direct || ctx.Err() != nil {
			break
		}
	}
	return p.finish(name)
}

// wait is the time until the next ping.
func (p *pings) wait() time.Duration {
	if p.untilDirect && p.out.Received > 0 && p.out.Received <= int(searchSpan/searchInterval) {
		return min(p.interval, searchInterval)
	}
	return p.interval
}

// one sends one ping. Only an error that the next ping would meet again ends
// the run; an answer that does not come is a result.
func (p *pings) one(ctx context.Context, name string) error {
	p.out.Sent++
	pingCtx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	reply, err := p.client.Ping(pingCtx, &localv1.PingRequest{Name: name})
	if ctx.Err() != nil && err != nil {
		p.out.Sent--
		return nil
	}
	var known *localapi.Error
	switch {
	case errors.As(err, &known) && known.Code != localapi.CodeTimeout && known.Code != localapi.CodeGeneric:
		return err
	case err != nil:
		cause := err.Error()
		if errors.Is(err, context.DeadlineExceeded) {
			cause = fmt.Sprintf("no answer within %s", p.timeout)
		}
		p.out.Direct = false
		p.out.Replies = append(p.out.Replies, replyJSON{Path: "unknown", Error: cause})
		p.say("ping %s: %s", name, printable(cause))
		return nil
	}
	p.out.Received++
	p.out.Address = reply.GetAddress()
	p.out.Direct = reply.GetPath() == localv1.AgentStatus_DIRECT
	p.out.Replies = append(p.out.Replies, replyJSON{
		LatencyMS: milliseconds(reply.GetLatency()), Path: pathWord(reply.GetPath()),
		Endpoint: reply.GetEndpoint(), Relay: relayOf(reply.GetRelay()),
	})
	p.say("%s (%s) answered in %s, %s", name, reply.GetAddress(), latency(reply.GetLatency()),
		printable(pathOf(reply.GetPath(), reply.GetEndpoint(), reply.GetRelay())))
	return nil
}

func (p *pings) say(format string, args ...any) {
	if !p.asJSON {
		fmt.Fprintf(p.app.env.Stdout, format+"\n", args...)
	}
}

func (p *pings) finish(name string) error {
	if p.asJSON {
		if err := writeJSON(p.app.env.Stdout, p.out); err != nil {
			return err
		}
	}
	switch {
	case p.out.Sent == 0:
		return context.Canceled
	case p.out.Received == 0:
		return &localapi.Error{
			Code:   localapi.CodeTimeout,
			Cause:  fmt.Sprintf("ping %s: nothing came back of %s", name, count(p.out.Sent, "ping")),
			Remedy: "see causeway status, and that the workspace runs",
		}
	case p.untilDirect && !p.out.Direct:
		return &localapi.Error{
			Code:   localapi.CodeDegraded,
			Cause:  fmt.Sprintf("ping %s: no direct answer among %d", name, p.out.Received),
			Remedy: "it works through the relay; for a direct path, UDP has to get through on at least one side",
		}
	}
	return nil
}
