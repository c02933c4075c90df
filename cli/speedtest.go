package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

const (
	// speedtestVersion is that of tailscale's protocol.
	speedtestVersion = 2
	// speedtestMost is the longest test that agents run.
	speedtestMost = time.Minute
	// speedtestGrace is how long the last bytes may be on their way.
	speedtestGrace = 10 * time.Second
	// speedtestBlock is what is read and written at once.
	speedtestBlock = 256 << 10
	// speedtestAnswer bounds what an agent says before the test.
	speedtestAnswer = 4 << 10
)

type speedtestJSON struct {
	Version   int         `json:"version"`
	Name      string      `json:"name"` // as the user gave it
	Address   string      `json:"address"`
	Direction string      `json:"direction"`
	Path      string      `json:"path"`
	Endpoint  string      `json:"endpoint"`
	Relay     *relayJSON  `json:"relay"`
	Total     speedJSON   `json:"total"`
	Intervals []speedJSON `json:"intervals"`
}

type speedJSON struct {
	Start float64 `json:"start_seconds"`
	End   float64 `json:"end_seconds"`
	Bytes int64   `json:"bytes"`
	Mbits float64 `json:"mbits_per_second"`
}

// speedRun is one run of the speedtest command.
type speedRun struct {
	*agentPort
	direction string
	duration  time.Duration
	say       func(speedJSON)

	conn      net.Conn
	began     time.Time
	last      time.Time // when the interval began
	bytes     int64     // of the interval
	all       int64
	intervals []speedJSON
}

func (a *app) speedtest() *cobra.Command {
	var direction string
	var duration time.Duration
	var asJSON bool
	command := &cobra.Command{
		Use: "speedtest <name>", Short: "Measure how fast data gets to or from a workspace", Args: args(1, 1, "the name of an agent"),
		Long: `Measure how fast data gets from a workspace (down) or to it (up), through one TCP
connection in the tunnel, and say whether its path is direct or relayed. The data
goes nowhere. An agent runs two tests at once, of a minute at most.

Exits with 6 if the agent does not answer, with 1 if it refuses or the test ends early.`,
		Example: `  causeway speedtest myws
  causeway speedtest main.web --direction up --duration 10s
  causeway speedtest myws --json | jq .total.mbits_per_second`,
		ValidArgsFunction: a.completeNames,
	}
	command.Flags().StringVar(&direction, "direction", "down", "down: from the workspace, up: to it")
	command.Flags().DurationVar(&duration, "duration", 5*time.Second, "how long to send, up to 1m")
	command.Flags().BoolVar(&asJSON, "json", false, "print JSON at the end (cli/schema/speedtest.json)")
	_ = command.RegisterFlagCompletionFunc("direction", cobra.FixedCompletions([]string{"down", "up"}, cobra.ShellCompDirectiveNoFileComp))
	command.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case direction != "down" && direction != "up":
			return &usageError{cause: fmt.Sprintf("speedtest: --direction %q is neither down nor up", direction), remedy: "see: causeway speedtest --help"}
		case duration <= 0:
			return &usageError{cause: fmt.Sprintf("speedtest: --duration %s is no time to measure in", duration), remedy: "give a time such as 10s, up to 1m"}
		case duration > speedtestMost:
			return &usageError{cause: fmt.Sprintf("speedtest: --duration %s is more than the minute that agents measure at most", duration), remedy: "give a time such as 10s, up to 1m"}
		}
		port, err := a.reach(cmd.Context(), args[0], "measure the speed of", speedtestPort)
		if err != nil {
			return err
		}
		run := &speedRun{agentPort: port, direction: direction, duration: duration, say: func(speedJSON) {}}
		if !asJSON {
			fmt.Fprintf(a.env.Stdout, "%s, %s for %s:\n", printable(agentName(port.agent)), direction, duration)
			run.say = func(one speedJSON) { fmt.Fprintln(a.env.Stdout, "  "+speedLine(one)) }
		}
		return run.run(cmd.Context(), args[0], asJSON)
	}
	return command
}

func speedLine(one speedJSON) string {
	return fmt.Sprintf("%4.1f-%4.1f s  %8.1f MB  %8.1f Mbit/s", one.Start, one.End, float64(one.Bytes)/1e6, one.Mbits)
}

func (r *speedRun) run(ctx context.Context, name string, asJSON bool) error {
	total, err := r.measure(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return err
	}
	agent := r.pathNow(ctx)
	if asJSON {
		return writeJSON(r.app.env.Stdout, speedtestJSON{
			Version: jsonVersion, Name: name, Address: r.addr.String(), Direction: r.direction, Path: pathWord(agent.GetPath()),
			Endpoint: agent.GetEndpoint(), Relay: relayOf(agent.GetRelay()), Total: total, Intervals: r.intervals,
		})
	}
	_, err = fmt.Fprintf(r.app.env.Stdout, "  total%4.1f s  %8.1f MB  %8.1f Mbit/s  %s\n", total.End, float64(total.Bytes)/1e6, total.Mbits, printable(way(agent)))
	return err
}

// pathNow is the agent with the path that the test has used; what was known
// before the test if the daemon does not say.
func (r *speedRun) pathNow(ctx context.Context) *localv1.AgentStatus {
	if status, err := r.app.fetch(ctx); err == nil {
		if agent, err := find(status, agentName(r.agent)); err == nil {
			return agent
		}
	}
	return r.agent
}

// measure runs the test.
func (r *speedRun) measure(ctx context.Context) (speedJSON, error) {
	conn, err := r.dial(ctx)
	if err != nil {
		return speedJSON{}, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	r.conn, r.intervals = conn, []speedJSON{}
	if err := r.ask(); err != nil {
		return speedJSON{}, err
	}
	r.began = time.Now()
	r.last = r.began
	if r.direction == "up" {
		err = r.send()
	} else {
		err = r.take(r.began.Add(r.duration + speedtestGrace))
	}
	took := time.Since(r.began)
	if r.bytes > 0 {
		r.interval()
	}
	switch {
	case err != nil:
		return speedJSON{}, r.failed(err)
	case r.direction == "down" && took < r.duration*9/10:
		return speedJSON{}, r.failed(fmt.Errorf("the agent ended the test after %s", took.Round(time.Millisecond)))
	}
	return speedOf(0, took, r.all), nil
}

// ask says which test is wanted, and hears whether it begins.
func (r *speedRun) ask() error {
	request := struct {
		Version   int           `json:"version"`
		Time      time.Duration `json:"time"`
		Direction int           `json:"direction"`
	}{speedtestVersion, r.duration, map[string]int{"down": 0, "up": 1}[r.direction]}
	if err := r.conn.SetDeadline(time.Now().Add(reachLimit)); err != nil {
		return r.failed(err)
	}
	if err := json.NewEncoder(r.conn).Encode(request); err != nil {
		return r.failed(err)
	}
	var line []byte
	// Byte for byte: what follows the line belongs to the test.
	for one := make([]byte, 1); len(line) == 0 || line[len(line)-1] != '\n'; line = append(line, one[0]) {
		if len(line) >= speedtestAnswer {
			return r.failed(errors.New("what answers is no speed test"))
		}
		if _, err := io.ReadFull(r.conn, one); err != nil {
			return r.failed(err)
		}
	}
	var answer struct {
		Error string `json:"error"`
	}
	if err := json.Unmarshal(line, &answer); err != nil {
		return r.failed(errors.New("what answers is no speed test"))
	}
	if answer.Error != "" {
		return &localapi.Error{
			Code: localapi.CodeGeneric, Cause: fmt.Sprintf("measure the speed of %s: the agent refuses: %s", agentName(r.agent), printable(answer.Error)),
			Remedy: "try again when no other test runs",
		}
	}
	return nil
}

// send sends for the duration, and waits until the other end has taken it all.
func (r *speedRun) send() error {
	block := make([]byte, speedtestBlock) // encrypted zeros are as good as noise
	until, giveUp := r.began.Add(r.duration), r.began.Add(r.duration+speedtestGrace)
	for time.Now().Before(until) {
		if err := r.step(func() (int, error) { return r.conn.Write(block) }, until); err != nil {
			return err
		}
	}
	half, ok := r.conn.(interface{ CloseWrite() error })
	if !ok {
		return errors.New("the connection has no end of its own for each direction")
	}
	if err := half.CloseWrite(); err != nil {
		return err
	}
	if err := r.conn.SetDeadline(giveUp); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, io.LimitReader(r.conn, speedtestAnswer))
	return err
}

// take reads until the other end is done.
func (r *speedRun) take(giveUp time.Time) error {
	block := make([]byte, speedtestBlock)
	for {
		err := r.step(func() (int, error) { return r.conn.Read(block) }, giveUp)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if !time.Now().Before(giveUp) {
			return os.ErrDeadlineExceeded
		}
	}
}

// step moves some bytes, and tells of each second that has gone by.
func (r *speedRun) step(move func() (int, error), limit time.Time) error {
	next := r.last.Add(time.Second)
	if limit.Before(next) {
		next = limit
	}
	if err := r.conn.SetDeadline(next); err != nil {
		return err
	}
	count, err := move()
	r.bytes += int64(count)
	if time.Since(r.last) >= time.Second {
		r.interval()
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	return err
}

// interval ends one and begins the next.
func (r *speedRun) interval() {
	now := time.Now()
	one := speedOf(r.last.Sub(r.began), now.Sub(r.began), r.bytes)
	r.all += r.bytes
	r.intervals = append(r.intervals, one)
	r.last, r.bytes = now, 0
	r.say(one)
}

func speedOf(from, to time.Duration, bytes int64) speedJSON {
	out := speedJSON{Start: from.Seconds(), End: to.Seconds(), Bytes: bytes}
	if to > from {
		out.Mbits = float64(bytes) * 8 / 1e6 / (to - from).Seconds()
	}
	return out
}
