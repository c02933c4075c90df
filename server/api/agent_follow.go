package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"github.com/causewayhq/causeway/server/coordinator"
	"github.com/causewayhq/causeway/server/store"
	tailnetsvc "github.com/causewayhq/causeway/server/tailnet"
)

// followWriteLimit is how long a follower may take for what it is sent. Until
// then its lines wait in the database, after it its connection ends; it comes
// back with the last number that it has.
const followWriteLimit = 30 * time.Second

// metadataPace is how close the events of metadata may be.
const metadataPace = time.Second

var errAgentGone = &tailnetsvc.PartingError{How: coordinator.Gone, Text: "the agent was deleted"}

type logBody struct {
	ID        int64     `json:"id"`
	CreatedAt time.Time `json:"created_at"`
	Output    string    `json:"output"`
	Level     string    `json:"level"`
	SourceID  uuid.UUID `json:"source_id"`
}

func describeLogs(lines []store.LogLine) []logBody {
	bodies := make([]logBody, 0, len(lines))
	for _, line := range lines {
		bodies = append(bodies, logBody{line.ID, line.CreatedAt, line.Output, line.Level.String(), line.Source})
	}
	return bodies
}

// serveLogs lists an agent's lines, or follows them: by websocket, in JSON arrays,
// where one is asked for, and else in one JSON object on each line.
func (s *Server) serveLogs(w http.ResponseWriter, r *http.Request) {
	agent, user, token, err := s.ownAgent(r)
	var which store.LogRange
	if err == nil {
		which, err = logRange(r)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if !asked(r, "follow") {
		s.listLogs(w, r, agent, which)
		return
	}
	if which.Before != 0 || which.Most != 0 {
		s.fail(w, r, rejectField(http.StatusBadRequest, "Following has no end.", "follow", "Leave before and limit away."))
		return
	}
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		s.stream(w, r, token, user, "application/x-ndjson", func(ctx context.Context, out *eventWriter) error {
			return s.followAgent(ctx, agent, which.After, func(lines []store.LogLine) error { return out.lines(describeLogs(lines)) })
		})
		return
	}
	s.followByWebsocket(w, r, token, user, agent, which.After)
}

// asked says whether a flag stands in the query: with or without a value.
func asked(r *http.Request, flag string) bool {
	return r.URL.Query().Has(flag) && r.URL.Query().Get(flag) != "false"
}

func logRange(r *http.Request) (store.LogRange, error) {
	var which store.LogRange
	for name, into := range map[string]*int64{"after": &which.After, "before": &which.Before} {
		if err := queryNumber(r, name, into); err != nil {
			return which, err
		}
	}
	var most int64
	err := queryNumber(r, "limit", &most)
	which.Most = int(min(most, store.LogPageMost))
	return which, err
}

func queryNumber(r *http.Request, name string, into *int64) error {
	text := r.URL.Query().Get(name)
	if text == "" {
		return nil
	}
	value, err := strconv.ParseInt(text, 10, 64)
	if err != nil || value < 0 {
		return rejectField(http.StatusBadRequest, "A query parameter is not valid.", name, fmt.Sprintf("%q is no number from 0.", text))
	}
	*into = value
	return nil
}

// listLogs gives all that there is, which the limits of two runs bound: 100,000
// lines. It holds two pages of them at a time.
func (s *Server) listLogs(w http.ResponseWriter, r *http.Request, agent store.Agent, which store.LogRange) {
	lines, err := s.config.Store.Logs(r.Context(), agent.ID, which)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	out := &eventWriter{w, http.NewResponseController(w), s.writeLimit}
	for opening := "["; ; opening = "," {
		var more []store.LogLine
		if which.Most == 0 && len(lines) == store.LogPageMost {
			which.After = lines[len(lines)-1].ID
			more, err = s.config.Store.Logs(r.Context(), agent.ID, which)
		}
		if err == nil {
			err = out.page(opening, describeLogs(lines), len(more) == 0)
		}
		if err != nil {
			// The status is sent, and what there is must not look whole.
			s.config.Logger.Debug("a list of logs broke off", slog.String("path", r.URL.Path), slog.Any("error", err))
			panic(http.ErrAbortHandler)
		}
		if len(more) == 0 {
			return
		}
		lines = more
	}
}

func (s *Server) followAgent(ctx context.Context, agent store.Agent, after int64, send func([]store.LogLine) error) error {
	state := s.reports.acquire(ctx, agent.ID)
	defer s.reports.release(state)
	return s.follow(ctx, state, after, send)
}

// begin registers what goes on for long like any connection: it counts, and ends
// with its token and with the server.
func (s *Server) begin(r *http.Request, token store.Token, user store.User) (*connection, error) {
	if err := s.admit(holder(token), user.ID); err != nil {
		return nil, err
	}
	return s.live.enter(context.WithoutCancel(r.Context()), token, uuid.New())
}

func (s *Server) followByWebsocket(w http.ResponseWriter, r *http.Request, token store.Token, user store.User, agent store.Agent, after int64) {
	entry, err := s.begin(r, token, user)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	defer s.live.exit(entry)
	conn, err := accept(w, r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	defer func() { _ = conn.CloseNow() }() // it may have ended in order
	conn.SetReadLimit(readMost)
	// A follower says nothing: what it sends ends it.
	ctx, cancel := context.WithCancel(conn.CloseRead(entry.ctx))
	defer cancel()
	stay := context.AfterFunc(entry.leave, cancel)
	defer stay()
	pinged := make(chan struct{})
	go func() {
		defer close(pinged)
		keepAlive(ctx, conn.Ping, pingInterval, func() { entry.part(errPingTimeout) })
	}()
	err = s.followAgent(ctx, agent, after, func(lines []store.LogLine) error {
		data, err := json.Marshal(describeLogs(lines))
		if err != nil {
			return err
		}
		limited, done := context.WithTimeout(entry.ctx, s.writeLimit)
		defer done()
		return conn.Write(limited, websocket.MessageText, data)
	})
	cancel()
	<-pinged
	if cause := entry.cause(); cause != nil {
		err = cause
	}
	code, reason := closeCode(err)
	_ = conn.Close(code, reason) // who has gone hears nothing
}

// readMost is for a message of a follower, which has nothing to say.
const readMost = 1024

// serveMetadata sends the whole metadata of an agent as server-sent events: at
// once, and when it has changed, at most once a second.
func (s *Server) serveMetadata(w http.ResponseWriter, r *http.Request) {
	agent, user, token, err := s.ownAgent(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.stream(w, r, token, user, "text/event-stream", func(ctx context.Context, out *eventWriter) error {
		state := s.reports.acquire(ctx, agent.ID)
		defer s.reports.release(state)
		changed, stop := state.watch()
		defer stop()
		pings := time.NewTicker(pingInterval)
		defer pings.Stop()
		for {
			bodies, err := s.metadataOf(ctx, agent, state)
			if err != nil {
				return err
			}
			if err := out.event("data", bodies); err != nil {
				return err
			}
			if err := waitForMetadata(ctx, state, changed, pings.C, out); err != nil {
				return err
			}
		}
	})
}

// waitForMetadata returns when there is something new and the pace allows it.
func waitForMetadata(ctx context.Context, state *reported, changed <-chan struct{}, pings <-chan time.Time, out *eventWriter) error {
	pace := time.After(metadataPace)
	for fresh := false; ; {
		told := changed
		if fresh {
			told = nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-state.gone:
			return errAgentGone
		case <-pings:
			if err := out.event("ping", nil); err != nil {
				return err
			}
		case <-told:
			fresh = true
		case <-pace:
			pace = nil
		}
		if fresh && pace == nil {
			return nil
		}
	}
}

// eventWriter writes an answer that goes on, each part at once and in a limited time.
type eventWriter struct {
	to      http.ResponseWriter
	control *http.ResponseController
	limit   time.Duration
}

func (e *eventWriter) write(text []byte) error {
	if err := e.control.SetWriteDeadline(time.Now().Add(e.limit)); err != nil {
		return err
	}
	if _, err := e.to.Write(text); err != nil {
		return err
	}
	return e.control.Flush()
}

// page writes a part of a JSON list.
func (e *eventWriter) page(opening string, bodies []logBody, last bool) error {
	list, err := json.Marshal(bodies)
	if err != nil {
		return err
	}
	text := append([]byte(opening), list[1:len(list)-1]...)
	if last {
		text = append(text, "]\n"...)
	}
	return e.write(text)
}

// lines writes one JSON object on each line.
func (e *eventWriter) lines(bodies []logBody) error {
	var text []byte
	for _, body := range bodies {
		encoded, err := json.Marshal(body)
		if err != nil {
			return err
		}
		text = append(append(text, encoded...), '\n')
	}
	return e.write(text)
}

// event writes a server-sent event.
func (e *eventWriter) event(name string, body any) error {
	text := "event: " + name + "\n"
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return err
		}
		text += "data: " + string(encoded) + "\n"
	}
	return e.write([]byte(text + "\n"))
}

// stream answers with what serve writes, until it returns, the caller goes, the
// token ends or the server drains.
func (s *Server) stream(w http.ResponseWriter, r *http.Request, token store.Token, user store.User, kind string, serve func(context.Context, *eventWriter) error) {
	entry, err := s.begin(r, token, user)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	defer s.live.exit(entry)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	for _, ends := range []context.Context{entry.ctx, entry.leave} {
		stay := context.AfterFunc(ends, cancel)
		defer stay()
	}
	out := &eventWriter{w, http.NewResponseController(w), s.writeLimit}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no") // a proxy would keep lines back
	w.WriteHeader(http.StatusOK)
	if err := out.write(nil); err != nil {
		return // the head is on its way, or there is nobody to take it
	}
	if err := serve(ctx, out); err != nil && ctx.Err() == nil && !errors.Is(err, errAgentGone) {
		// The status is sent: that the answer ends is all that is left to say.
		s.config.Logger.Debug("an answer that goes on has ended", slog.String("path", r.URL.Path), slog.Any("error", err))
	}
}
