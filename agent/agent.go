package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/causewayhq/causeway/agent/httpapi"
	"github.com/causewayhq/causeway/agent/rpty"
	"github.com/causewayhq/causeway/agent/sshd"
	"github.com/causewayhq/causeway/control"
	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/agentv2"
)

// dialFloor is the shortest wait before the next dial (docs of the protocol,
// 5.6); the longest is the control loop's own.
const dialFloor = 100 * time.Millisecond

// Config is what an agent needs. Logger, URL, Token and StateDir are required.
type Config struct {
	Logger *slog.Logger
	// URL is the access URL of the deployment.
	URL *url.URL
	// Token gives what authenticates the agent, at each dial.
	Token TokenSource
	// StateDir keeps the keys; one agent at a time can use it.
	StateDir string
	// Header is added to each request to the control plane and its relays.
	Header http.Header
	// Version is reported to the control plane.
	Version string
	// SSH is what can be set of the SSH server.
	SSH SSH
	// TerminalIdle is how long a terminal stays that nobody watches. 0: five
	// minutes.
	TerminalIdle time.Duration
	// Connected is told, when the control plane has accepted the agent for the
	// first time, under which names it can be reached. Nil: nobody is.
	Connected func(names []string)
}

// agent is one run.
type agent struct {
	config    Config
	tokens    tokens
	log       *slog.Logger
	netLog    *slog.Logger // of the network, whose details are kept on demand only
	state     *State
	loop      *control.Loop
	ssh       *sshd.Server
	reporter  *reporter
	reports   *reports
	scripts   *scripts
	side      side
	terminals *rpty.Server
	parts     []part
	open      openNetwork
	failed    chan error    // takes the first error that ends the agent
	began     chan struct{} // a session with a peer that had none

	work sync.WaitGroup

	mu        sync.Mutex
	closing   bool
	manifest  manifest
	network   network
	forwards  *forwarder // of the network
	shape     shape
	connected bool // now
	once      bool // since the start
	announced bool
	warned    string // what was last said of the outage that lasts
}

// Run serves until the context ends, and nil is the answer then. It gives up
// by itself only when the state directory cannot be used, or when the control
// plane, before it has ever accepted this agent, refuses it for good: ErrToken,
// ErrCertificate and ErrVersion, or there is nothing to show it: ErrNoToken.
func Run(ctx context.Context, config Config) error {
	return run(ctx, config, openUserspace)
}

func run(ctx context.Context, config Config, open openNetwork) error {
	state, err := OpenState(config.StateDir)
	if err != nil {
		return err
	}
	defer state.Close()
	logs, output := &httpapi.Ring{}, config.Logger.Handler()
	config.Logger = slog.New(logs.Handler(output, slog.LevelDebug))
	a := &agent{
		config: config, tokens: tokens{source: config.Token}, log: config.Logger, netLog: slog.New(logs.Handler(output, slog.LevelInfo)), state: state, open: open,
		reporter: newReporter(config.Logger, config.Version), failed: make(chan error, 1), began: make(chan struct{}, 1),
	}
	a.reports = newReports(a)
	a.scripts = newScripts(a)
	defer a.scripts.runner.Close()
	a.ssh, err = a.newSSH()
	if err != nil {
		return err
	}
	a.terminals = a.newTerminals()
	a.side = a.newSide(logs)
	defer a.side.close(a.log)
	a.parts = a.makeParts()
	a.loop = &control.Loop{
		Dialer: &control.Dialer{
			URL: config.URL, Path: control.AgentPath, Query: url.Values{"role": {"agent"}},
			Token: func() string { return string(a.tokens.current()) }, Headers: a.tokens.dial, Header: config.Header,
		},
		Logger: quiet(config.Logger), Acks: true, Wish: proto.V24, Floor: dialFloor,
		Prepare: a.prepare, Extra: a.extra, RelayMap: a.setRelayMap, Connected: a.setConnected,
	}
	return a.serve(ctx)
}

// serve runs the control loop until the agent ends, the network last.
func (a *agent) serve(ctx context.Context) error {
	loopCtx, stopLoop := context.WithCancel(context.WithoutCancel(ctx))
	defer stopLoop()
	loopEnded := make(chan struct{})
	go func() {
		defer close(loopEnded)
		_ = a.loop.Run(loopCtx) // it ends with its context only
	}()

	a.work.Go(func() { a.serveGit(loopCtx) })
	a.work.Go(func() { a.keepPeers(loopCtx) })
	a.work.Go(func() { a.reports.work(loopCtx) })

	var err error
	select {
	case <-ctx.Done():
	case err = <-a.failed:
	}
	a.log.Debug("agent is ending")
	a.mu.Lock()
	a.closing = true
	a.mu.Unlock()
	a.shutDown()
	stopLoop()
	<-loopEnded
	err = errors.Join(err, a.closeNetwork())
	a.awaitWork()
	return err
}

// prepare asks what the agent is to be, and makes the network for it, before
// the connection is used for anything else.
func (a *agent) prepare(ctx context.Context, conn *control.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, manifestLimit)
	defer cancel()
	var client agentv2.Client20 = agentv2.NewDRPCAgentClient(conn)
	message, err := client.GetManifest(ctx, &agentv2.GetManifestRequest{})
	if err != nil {
		return fmt.Errorf("get manifest: %w", err)
	}
	manifest, err := readManifest(message)
	if err != nil {
		return err
	}
	a.putSecrets(message.GetSecrets())
	if err := a.install(manifest); err != nil {
		return err
	}
	a.scripts.use(manifest)
	return nil
}

// setConnected hears of each change of the connection and each failed dial.
func (a *agent) setConnected(connected bool, cause error) {
	a.mu.Lock()
	again := connected && a.once && !a.connected
	words, before := outage(cause), a.warned
	warn := !connected && cause != nil && a.warned != words && !a.closing
	final := refusal(cause)
	a.connected = connected
	a.once = a.once || connected
	switch {
	case connected:
		a.warned = ""
	case cause != nil:
		a.warned = words
	}
	network := a.network
	fatal := final != nil && !a.once
	a.mu.Unlock()

	if network != nil {
		network.SetControlConnected(connected)
	}
	switch {
	case fatal:
		select {
		case a.failed <- fmt.Errorf("%w: %w", final, plainly(cause)):
		default:
		}
	case warn && words == outageNews:
		a.log.Info(words)
	case again && before == outageNews:
		a.log.Debug("control plane is back")
	case warn:
		a.log.Warn(words, slog.String("url", a.config.URL.Redacted()), slog.String("error", plainly(cause).Error()))
	case again:
		a.log.Info("control plane is back")
	}
}
