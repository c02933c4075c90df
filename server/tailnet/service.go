package tailnetsvc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"storj.io/drpc"
	"storj.io/drpc/drpcerr"
	"storj.io/drpc/drpcmux"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/agentv2"
	"github.com/causewayhq/causeway/proto/mux"
	"github.com/causewayhq/causeway/proto/tailnetv2"
	"github.com/causewayhq/causeway/server/coordinator"
)

// DefaultRelayMapPeriod is how often each connection looks whether the relay
// map has changed.
const DefaultRelayMapPeriod = 5 * time.Second

// Service serves connections. The fields are set before its first use and not
// changed after; its methods may be called from any goroutine.
type Service struct {
	Coordinator *coordinator.Coordinator
	// RelayMap is the map that peers are to use now. A map without content
	// (nil DERPMap) ends the stream of whoever asks.
	RelayMap func() proto.RelayMap
	// RelayMapPeriod is zero for DefaultRelayMapPeriod.
	RelayMapPeriod time.Duration
	// Updates is nil where there are no workspaces: the call is then unimplemented.
	Updates UpdatesProvider
	// Resume is nil where peer ids do not survive: the call is then unimplemented.
	Resume *ResumeKeys
	// Telemetry takes what clients report; nil drops it.
	Telemetry func(ctx context.Context, peerID uuid.UUID, req *tailnetv2.TelemetryRequest)
	Logger    *slog.Logger
}

// UserStream is who a user's connection belongs to.
type UserStream struct {
	PeerID uuid.UUID // new and random, or from a resume token that was verified
	UserID uuid.UUID
	Auth   coordinator.Auth
	Name   string // for the coordinator's debug page
}

// ServeUser serves a user's connection until it or ctx ends, closes it, and
// returns when every call on it has returned. nil is a normal end.
//
// When leave ends before, the peer is told its cause in the coordination
// stream, and the connection ends when it has read that, or 2 s later. A
// connection with a method HangUp(error) hears why it is cut.
func (s *Service) ServeUser(ctx, leave context.Context, conn io.ReadWriteCloser, user UserStream) error {
	router := drpcmux.New()
	peer := &session{service: s, id: user.PeerID, name: user.Name, auth: user.Auth, user: &user}
	if err := tailnetv2.DRPCRegisterTailnet(router, peer); err != nil {
		return fmt.Errorf("register tailnet service: %w", err)
	}
	return peer.serve(ctx, leave, conn, &guard{next: router, logger: s.Logger, places: make(chan struct{}, userCalls), large: make(chan struct{}, 1)})
}

// ServeAgent is ServeUser for the connection of an agent, which also carries
// the agent API.
func (s *Service) ServeAgent(ctx, leave context.Context, conn io.ReadWriteCloser, agentID uuid.UUID, name string, agent AgentHandler) error {
	router := drpcmux.New()
	peer := &session{service: s, id: agentID, name: name, auth: coordinator.AgentAuth(agentID)}
	if err := tailnetv2.DRPCRegisterTailnet(router, peer); err != nil {
		return fmt.Errorf("register tailnet service: %w", err)
	}
	if err := agentv2.DRPCRegisterAgent(router, agent); err != nil {
		return fmt.Errorf("register agent service: %w", err)
	}
	return peer.serve(ctx, leave, conn, &guard{next: router, logger: s.Logger, places: make(chan struct{}, agentCalls), large: make(chan struct{}, 1)})
}

func (p *session) serve(ctx, leave context.Context, conn io.ReadWriteCloser, handler drpc.Handler) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p.ctx, p.leave = ctx, leave
	p.hangUp = func(reason error) {
		if teller, ok := conn.(interface{ HangUp(reason error) }); ok {
			teller.HangUp(reason)
		}
		cancel()
	}
	stay := context.AfterFunc(leave, func() {
		// A stream that was told may have ended already.
		if p.coordinating.Load() == 0 && !p.sentOff.Load() {
			p.hangUp(context.Cause(leave)) // there is no stream to tell it on
		}
	})
	defer stay()
	return mux.Serve(ctx, conn, handler)
}

// How many calls one connection may have at once. Each one costs a buffer of up
// to 4 MiB for what is sent to it, and goroutines. A client has three streams,
// and calls that end at once; an agent has a dozen kinds of reports besides.
const (
	userCalls  = 16
	agentCalls = 32
)

// guard turns a panic in one call into an internal error of that call, and
// refuses calls beyond so many at once and messages of too many elements.
type guard struct {
	next   drpc.Handler
	logger *slog.Logger
	places chan struct{}
	large  chan struct{}
}

func (g *guard) HandleRPC(stream drpc.Stream, rpc string) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			g.logger.Error("handle call: panic", slog.String("rpc", rpc), slog.Any("cause", cause), slog.String("stack", string(debug.Stack())))
			err = errors.New("internal error")
		}
	}()
	select {
	case g.places <- struct{}{}:
		defer func() { <-g.places }()
	default:
		return fmt.Errorf("too many calls at once: one connection may have %d", cap(g.places))
	}
	limited := &bounded{Stream: stream, large: g.large}
	defer limited.release()
	return g.next.HandleRPC(limited, rpc)
}

// session is one peer's connection.
type session struct {
	service *Service
	id      uuid.UUID
	name    string
	auth    coordinator.Auth
	user    *UserStream // nil for an agent
	// ctx ends with the connection. The context of a call is of a kind of its
	// own, and each context made from it costs a goroutine; one made from this
	// does not.
	ctx    context.Context
	leave  context.Context // ends when the connection is to end with a word
	hangUp func(reason error)

	coordinating atomic.Int32 // coordination streams that are open
	sentOff      atomic.Bool  // one was told to leave
}

func unimplemented(what string) error {
	return drpcerr.WithCode(fmt.Errorf("%s: Unimplemented", what), drpcerr.Unimplemented)
}

// PostTelemetry accepts everything.
func (p *session) PostTelemetry(ctx context.Context, req *tailnetv2.TelemetryRequest) (*tailnetv2.TelemetryResponse, error) {
	if p.service.Telemetry != nil {
		p.service.Telemetry(ctx, p.id, req)
	}
	return &tailnetv2.TelemetryResponse{}, nil
}

// StreamDERPMaps sends the map at once, and again whenever it has changed.
func (p *session) StreamDERPMaps(_ *tailnetv2.StreamDERPMapsRequest, stream tailnetv2.DRPCTailnet_StreamDERPMapsStream) error {
	period := p.service.RelayMapPeriod
	if period <= 0 {
		period = DefaultRelayMapPeriod
	}
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	var last proto.RelayMap
	for {
		current := p.service.RelayMap()
		if current.DERPMap == nil {
			return nil
		}
		if !current.Equal(last) {
			if err := stream.Send(current.Proto()); err != nil {
				return fmt.Errorf("send relay map: %w", err)
			}
			last = current
		}
		select {
		case <-ticker.C:
		case <-stream.Context().Done():
			return nil
		}
	}
}

// RefreshResumeToken is for users: an agent has an id of its own.
func (p *session) RefreshResumeToken(context.Context, *tailnetv2.RefreshResumeTokenRequest) (*tailnetv2.RefreshResumeTokenResponse, error) {
	if p.service.Resume == nil {
		return nil, unimplemented("refresh resume token")
	}
	if p.user == nil {
		return nil, errors.New("refresh resume token: internal error: the stream has no client identity")
	}
	return p.service.Resume.Issue(p.id, p.user.UserID)
}

// WorkspaceUpdates sends the complete state, then what changes.
func (p *session) WorkspaceUpdates(req *tailnetv2.WorkspaceUpdatesRequest, stream tailnetv2.DRPCTailnet_WorkspaceUpdatesStream) error {
	if p.service.Updates == nil {
		return unimplemented("workspace updates")
	}
	owner, err := uuid.FromBytes(req.GetWorkspaceOwnerId())
	if err != nil {
		return fmt.Errorf("parse workspace owner id: %w", err)
	}
	if p.user == nil || owner != p.user.UserID {
		// The same for an owner that does not exist.
		return errors.New("subscribe to workspaces: owner not found or you do not have permission")
	}
	ctx, cancel := context.WithCancel(p.ctx)
	defer cancel()
	updates, err := p.service.Updates.Subscribe(ctx, owner)
	if err != nil {
		return fmt.Errorf("subscribe to workspaces: %w", err)
	}
	for {
		select {
		case update, more := <-updates:
			if !more {
				return nil
			}
			if err := stream.Send(update); err != nil {
				return fmt.Errorf("send workspace update: %w", err)
			}
		case <-stream.Context().Done():
			return nil
		}
	}
}
