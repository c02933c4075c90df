package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/server/coordinator"
	"github.com/causewayhq/causeway/server/store"
	tailnetsvc "github.com/causewayhq/causeway/server/tailnet"
)

// checkVersion reads the version that a client asks for (docs of the protocol, 1.3).
func checkVersion(r *http.Request, fallback string) error {
	text := r.URL.Query().Get("version")
	if text == "" {
		text = fallback
	}
	version, err := proto.ParseVersion(text)
	if err == nil {
		err = proto.Current.Accepts(version)
	}
	if err != nil {
		return rejectField(http.StatusBadRequest, "Unknown or unsupported API version", "version", err.Error())
	}
	return nil
}

// peerID is a new random id, or the one that a resume token vouches for.
func (s *Server) peerID(r *http.Request, user uuid.UUID) (uuid.UUID, error) {
	token := r.URL.Query().Get("resume_token")
	if token == "" {
		return uuid.New(), nil
	}
	id, err := s.config.Resume.Verify(token, user)
	switch {
	case errors.Is(err, tailnetsvc.ErrResumeTooOld):
		return uuid.New(), nil
	case err != nil:
		rejection := rejectField(http.StatusUnauthorized, "Invalid resume token", "resume_token", "The token does not verify.")
		rejection.Detail = err.Error()
		return uuid.Nil, rejection
	}
	return id, nil
}

func (s *Server) serveTailnet(w http.ResponseWriter, r *http.Request) {
	user, token, err := s.user(r)
	if err == nil {
		err = checkVersion(r, proto.V20.String())
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	auth := coordinator.UserAuth(func(ctx context.Context, agentID uuid.UUID) error { return s.mayReach(ctx, user.ID, agentID) })
	s.serveUser(w, r, token, tailnetsvc.UserStream{UserID: user.ID, Auth: auth, Name: user.Name})
}

func (s *Server) mayReach(ctx context.Context, user, agent uuid.UUID) error {
	owns, err := s.config.Store.OwnsAgent(ctx, user, agent)
	if err == nil && !owns {
		err = fmt.Errorf("reach agent %s: %w", agent, store.ErrNotFound)
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) && ctx.Err() == nil {
		s.config.Logger.Error("check of a tunnel failed", slog.Any("error", err))
	}
	return err
}

func (s *Server) serveCoordinate(w http.ResponseWriter, r *http.Request) {
	agent, user, token, err := s.ownAgent(r)
	if err == nil {
		err = checkVersion(r, "1.0")
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.serveUser(w, r, token, tailnetsvc.UserStream{UserID: user.ID, Auth: coordinator.ClientOfAgentAuth(agent.ID), Name: user.Name})
}

func (s *Server) serveUser(w http.ResponseWriter, r *http.Request, token store.Token, peer tailnetsvc.UserStream) {
	var err error
	if peer.PeerID, err = s.peerID(r, peer.UserID); err != nil {
		s.fail(w, r, err)
		return
	}
	s.upgrade(w, r, token, peer.UserID, peer.PeerID, func(ctx, leave context.Context, conn *stream) error {
		return s.service.ServeUser(ctx, leave, conn, peer)
	})
}

func (s *Server) serveAgent(w http.ResponseWriter, r *http.Request) {
	agent, token, err := s.agent(r)
	if err == nil {
		err = checkVersion(r, proto.V20.String())
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.upgrade(w, r, token, agent.OwnerID, agent.ID, func(ctx, leave context.Context, conn *stream) error {
		if err := s.config.Store.MarkAgentConnected(ctx, agent); err != nil {
			s.config.Logger.Warn("first connection of an agent was not recorded", slog.String("agent", agent.Path()), slog.Any("error", err))
		}
		defer s.presence.enter(agent)()
		state := s.reports.acquire(ctx, agent.ID)
		defer s.reports.release(state)
		handler := newAgentHandler(s, agent, state)
		leave, handler.part = context.WithCancelCause(leave)
		defer handler.part(nil)
		defer s.informed.remove(handler)
		return s.service.ServeAgent(ctx, leave, conn, agent.ID, agent.Path(), handler)
	})
}

// upgrade turns the request into a stream of bytes and serves it until either
// side ends it, the token that opened it ends, or the server drains. Before we
// end it the peer is told why, where it can still hear.
func (s *Server) upgrade(w http.ResponseWriter, r *http.Request, token store.Token, account, peer uuid.UUID, serve func(ctx, leave context.Context, conn *stream) error) {
	err := s.admit(holder(token), account)
	if err == nil {
		err = s.open(w, r, token, peer, serve)
	}
	if err != nil {
		s.fail(w, r, err)
	}
}

// open is upgrade for a connection that has been admitted. After an error serve
// is not called, and the request is still to be answered.
func (s *Server) open(w http.ResponseWriter, r *http.Request, token store.Token, peer uuid.UUID, serve func(ctx, leave context.Context, conn *stream) error) error {
	entry, err := s.live.enter(context.WithoutCancel(r.Context()), token, peer)
	if err != nil {
		return err
	}
	conn, err := accept(w, r)
	if err != nil {
		s.live.exit(entry)
		return err
	}
	// Not on the stack that the request has grown: one that has asked the database
	// never shrinks far again, and held 18 KB for each connection.
	go s.carry(entry, conn, r.URL.Path, serve)
	return nil
}

// carry serves a connection until its end. A panic ends this one alone, as in
// any handler.
func (s *Server) carry(entry *connection, conn *websocket.Conn, path string, serve func(ctx, leave context.Context, conn *stream) error) {
	defer s.live.exit(entry)
	defer func() {
		if cause := recover(); cause != nil {
			s.config.Logger.Error("serve connection: panic", slog.String("path", path), slog.Any("cause", cause), slog.String("stack", string(debug.Stack())))
		}
	}()
	var pings sync.WaitGroup
	pings.Go(func() { keepAlive(entry.ctx, conn.Ping, pingInterval, func() { entry.part(errPingTimeout) }) })
	defer pings.Wait()
	defer entry.cancel(nil)

	bytes := &stream{conn: conn, cause: entry.cause, hangUp: entry.cancel}
	err := serve(entry.ctx, entry.leave, bytes)
	if err != nil && entry.ctx.Err() == nil {
		s.config.Logger.Info("connection ended", slog.String("path", path), slog.Any("error", err))
		entry.cancel(err)
	}
	bytes.Close()
}
