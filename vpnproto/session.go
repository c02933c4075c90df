package vpnproto

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/causewayhq/causeway/proto/vpnv1"
	"github.com/causewayhq/causeway/tunnel"
)

const (
	// handshakeLimit is how long the manager may take to say who it is.
	handshakeLimit = 30 * time.Second
	// wakeEvery is how often a wake is acted on.
	wakeEvery = 5 * time.Second
)

// Core is a tunnel as a session drives it; *tunnel.Tunnel is one.
type Core interface {
	// Run keeps the tunnel until the context ends and then puts the host back.
	Run(ctx context.Context) error
	Changed() <-chan struct{}
	Status() tunnel.Status
	Revision() uint64
	Inventory() tunnel.Inventory
	HomeRelay() *tunnel.Relay
	PingAgent(ctx context.Context, id uuid.UUID) (tunnel.PingReply, error)
	Wake() error
}

// Config of a session. New is required.
type Config struct {
	// New makes a tunnel that does not run yet. The logger also writes to the
	// manager, and network asks it to apply settings, for whoever wants that.
	New func(tunnel.Profile, Start) (Core, error)
	// Log is where records go beside the manager.
	Log slog.Handler
	// Level is the least that is logged.
	Level slog.Leveler
	// Stopping is called when the end begins, whoever asked for it.
	Stopping func()
}

// Start is what else a tunnel may be made of.
type Start struct {
	Logger *slog.Logger
	// Device is a descriptor of the interface, where the manager makes it; else 0.
	Device int32
	// Apply has the manager set up interface, routes and DNS.
	Apply func(context.Context, Network) error
}

// Serve speaks with one manager until that stops us, which is no error, or hangs
// up (ErrHungUp), or breaks the protocol, or the context ends. The tunnel then
// has been ended and the host put back; an error of that counts most. Both
// streams are closed.
func Serve(ctx context.Context, in io.ReadCloser, out io.WriteCloser, config Config) error {
	defer in.Close()
	defer out.Close()
	limited, cancel := context.WithTimeoutCause(ctx, handshakeLimit, fmt.Errorf("no header within %v", handshakeLimit))
	version, err := Handshake(limited, in, out, RoleTunnel, Supported)
	cancel()
	if err != nil {
		return err
	}
	return serve(ctx, in, out, version, config)
}

func serve(ctx context.Context, in io.ReadCloser, out io.WriteCloser, version Version, config Config) error {
	l := newLink(in, out)
	log := slog.New(slog.NewMultiHandler(config.Log, newLogHandler(l, config.Level)))
	l.start(log)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &session{config: config, version: version, link: l, log: log}
	s.ctx, s.cancel = context.WithCancel(ctx)
	defer s.cancel()
	s.log.Info("manager is there", slog.String("version", version.String()))
	stop := context.AfterFunc(ctx, func() { in.Close() })
	defer stop()
	err := s.requests(in)
	interrupted := ctx.Err() != nil
	if config.Stopping != nil {
		config.Stopping()
	}
	stopErr := s.shutdown()
	switch {
	case errors.Is(err, errStopAsked):
		return errors.Join(stopErr, l.close(stopMessage(s.asked, stopErr)))
	case interrupted:
		_ = l.close(nil) // who asked us to end does not care who reads
		return stopErr
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		err = fmt.Errorf("%w: %w", ErrHungUp, io.ErrUnexpectedEOF)
	}
	if why := l.reason(); why != nil {
		err = why
	}
	l.end(err)
	return errors.Join(stopErr, err)
}

// errStopAsked ends the request loop as it should end.
var errStopAsked = errors.New("stop was asked for")

// session is one manager.
type session struct {
	config  Config
	version Version
	link    *link
	log     *slog.Logger
	ctx     context.Context // ends all that the session began
	cancel  context.CancelFunc
	asked   *vpnv1.RPC // of the stop request
	woke    time.Time

	applying sync.Mutex
	applied  *vpnv1.NetworkSettingsRequest // what the manager has set up

	begun sync.WaitGroup // starts, and tunnels that run
	mu    sync.Mutex
	run   *run // nil: may be started
	stop  error
}

// run is one tunnel from its start request to its end.
type run struct {
	request *vpnv1.StartRequest
	core    Core
	peers   *peers // nil until it is started
	cancel  context.CancelFunc
	ended   chan struct{}
	err     error // of Run, once it has ended
}

// requests serves what the manager says until it is over.
func (s *session) requests(in io.Reader) error {
	for {
		message := &vpnv1.ManagerMessage{}
		if err := readMessage(in, message); err != nil {
			return err
		}
		if err := s.request(message); err != nil {
			return err
		}
	}
}

func (s *session) request(message *vpnv1.ManagerMessage) error {
	rpc := message.GetRpc()
	if rpc.GetResponseTo() != 0 {
		s.link.answered(message)
		return nil
	}
	switch asked := message.GetMsg().(type) {
	case *vpnv1.ManagerMessage_Start:
		s.start(rpc, asked.Start)
	case *vpnv1.ManagerMessage_Stop:
		s.asked = rpc
		return errStopAsked
	case *vpnv1.ManagerMessage_GetPeerUpdate:
		s.reply(rpc, &vpnv1.TunnelMessage{Msg: &vpnv1.TunnelMessage_PeerUpdate{PeerUpdate: s.everything()}})
	case *vpnv1.ManagerMessage_Wake:
		if !s.version.has(minorWake) {
			s.unknown(rpc)
			return nil
		}
		s.wake()
		s.reply(rpc, &vpnv1.TunnelMessage{Msg: &vpnv1.TunnelMessage_Wake{Wake: &vpnv1.WakeResponse{}}})
	default:
		s.unknown(rpc)
	}
	return nil
}

// unknown answers what we do not know with nothing but the rpc.
func (s *session) unknown(rpc *vpnv1.RPC) {
	if rpc.GetMsgId() == 0 {
		s.log.Log(s.ctx, LevelCritical, "unknown request")
		return
	}
	s.log.Warn("unknown request", slog.Uint64("msg_id", rpc.GetMsgId()))
	s.reply(rpc, &vpnv1.TunnelMessage{})
}

func (s *session) reply(rpc *vpnv1.RPC, message *vpnv1.TunnelMessage) {
	if err := s.link.reply(s.ctx, rpc, message); err != nil {
		s.log.Error("no reply sent", slog.String("error", err.Error()))
	}
}

// start begins a tunnel; what becomes of it is told when it is known. Nothing is
// dialled for a request that is refused.
func (s *session) start(rpc *vpnv1.RPC, request *vpnv1.StartRequest) {
	r, known, err := s.admit(request)
	if r == nil {
		if err == nil && known {
			s.log.Info("tunnel runs already with the same settings")
		}
		s.startReply(rpc, err)
		return
	}
	ctx, cancel := context.WithCancel(s.ctx)
	r.cancel = cancel
	s.mu.Lock()
	s.run = r
	s.mu.Unlock()
	s.begun.Go(func() {
		defer cancel()
		s.life(ctx, r, rpc)
	})
}

// admit says what to run. A request equal to that of the running tunnel is as good
// as done.
func (s *session) admit(request *vpnv1.StartRequest) (r *run, known bool, err error) {
	s.mu.Lock()
	running := s.run
	s.mu.Unlock()
	if running != nil {
		switch {
		case !s.isUp(running):
			return nil, false, errBusy
		case proto.Equal(running.request, request):
			return nil, true, nil
		}
		return nil, false, errRunning
	}
	wanted, err := profile(request, s.version)
	if err != nil {
		return nil, false, err
	}
	s.applying.Lock()
	s.applied = nil // a manager sets up each tunnel anew
	s.applying.Unlock()
	core, err := s.config.New(wanted, Start{Logger: s.log, Device: request.GetTunnelFileDescriptor(), Apply: s.apply})
	if err != nil {
		return nil, false, err
	}
	return &run{request: request, core: core}, false, nil
}

func (s *session) isUp(r *run) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return r.peers != nil
}

// life runs a tunnel to its end. After one that could not be started, or ended by
// itself, another start is as good as the first.
func (s *session) life(ctx context.Context, r *run, rpc *vpnv1.RPC) {
	r.ended = make(chan struct{})
	s.begun.Go(func() {
		defer close(r.ended)
		r.err = r.core.Run(ctx)
	})
	if err := r.started(ctx); err != nil {
		r.cancel()
		if left := s.over(r); !errors.Is(err, left) {
			err = errors.Join(err, left)
		}
		s.log.Warn("tunnel not started", slog.String("error", err.Error()))
		s.startReply(rpc, err)
		return
	}
	p := newPeers(r.core, s.version, s.log, func(ctx context.Context, update *vpnv1.PeerUpdate) error {
		return s.link.push(ctx, &vpnv1.TunnelMessage{Msg: &vpnv1.TunnelMessage_PeerUpdate{PeerUpdate: update}})
	})
	s.mu.Lock()
	r.peers = p
	s.mu.Unlock()
	s.log.Info("tunnel started", slog.String("url", r.core.Status().URL))
	s.startReply(rpc, nil)
	teaching := make(chan struct{})
	go func() {
		defer close(teaching)
		p.teach(ctx)
	}()
	<-r.ended
	r.cancel()
	<-teaching
	if err := s.over(r); err != nil {
		s.log.Error("tunnel ended with an error", slog.String("error", err.Error()))
	}
}

// over waits for a tunnel's end and makes room for another. What could not be put
// back on the host is kept for the answer to a stop.
func (s *session) over(r *run) error {
	<-r.ended
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.run == r {
		s.run = nil
	}
	s.stop = r.err
	return r.err
}

func (s *session) startReply(rpc *vpnv1.RPC, err error) {
	response := &vpnv1.StartResponse{Success: err == nil}
	if err != nil {
		response.ErrorMessage = err.Error()
	}
	s.reply(rpc, &vpnv1.TunnelMessage{Msg: &vpnv1.TunnelMessage_Start{Start: response}})
}

// everything is the full state; empty while there is none to ask.
func (s *session) everything() *vpnv1.PeerUpdate {
	s.mu.Lock()
	var p *peers
	if s.run != nil {
		p = s.run.peers
	}
	s.mu.Unlock()
	if p == nil {
		return &vpnv1.PeerUpdate{}
	}
	return p.everything()
}

// wake acts on the first of several in a row.
func (s *session) wake() {
	s.mu.Lock()
	r := s.run
	s.mu.Unlock()
	if r == nil || !s.woke.IsZero() && time.Since(s.woke) < wakeEvery {
		return
	}
	if err := r.core.Wake(); err != nil {
		s.log.Info("nothing to wake", slog.String("reason", err.Error()))
		return
	}
	s.woke = time.Now()
}

// shutdown ends the tunnel and everything that a start began, a reply that finds
// no room too.
func (s *session) shutdown() error {
	s.mu.Lock()
	r := s.run
	s.mu.Unlock()
	s.cancel()
	s.begun.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if r == nil {
		return nil // what an earlier one left was said when it ended
	}
	return s.stop
}

func stopMessage(rpc *vpnv1.RPC, err error) *vpnv1.TunnelMessage {
	if rpc.GetMsgId() == 0 {
		return nil // no reply possible: the end of the stream says it
	}
	response := &vpnv1.StopResponse{Success: err == nil}
	if err != nil {
		response.ErrorMessage = err.Error()
	}
	return &vpnv1.TunnelMessage{
		Rpc: &vpnv1.RPC{ResponseTo: rpc.GetMsgId()},
		Msg: &vpnv1.TunnelMessage_Stop{Stop: response},
	}
}
