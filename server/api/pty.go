package api

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/server/store"
	"github.com/causewayhq/causeway/server/tailnetclient"
)

// AgentDialer connects to a TCP port of an agent, through the tunnel. Its errors
// are those of server/tailnetclient.
type AgentDialer interface {
	Dial(ctx context.Context, agent uuid.UUID, port uint16) (net.Conn, error)
}

// ptyPort is the agent's reconnecting terminals (docs of the protocol, 5.2).
const ptyPort = 2

// Limits of what a terminal may ask for. The lengths keep the first message
// below the 64 KiB that its length can say; the size is far beyond any screen.
const (
	ptyDefaultSize  = 80
	ptySizeLimit    = 4096
	ptyCommandLimit = 8 << 10
	ptyNameLimit    = 256
)

// ptyInit is the first message of a terminal, and its field names the wire's.
type ptyInit struct {
	ID            uuid.UUID
	Height, Width uint16
	Command       string
	Container     string `json:",omitempty"`
	ContainerUser string `json:",omitempty"`
	BackendType   string `json:",omitempty"`
}

// AgentStatus is connected, connecting, disconnected or unknown, for pages.
func (s *Server) AgentStatus(agent store.Agent) string { return s.presence.agentStatus(agent) }

// servePTY carries a terminal of an agent over a websocket: binary messages with
// JSON values to it, and its raw output back.
func (s *Server) servePTY(w http.ResponseWriter, r *http.Request) {
	session, err := s.newPTY(r)
	if err == nil {
		err = s.admit(holder(session.token), session.token.UserID)
	}
	if err == nil {
		err = session.connect(r.Context())
	}
	if err == nil {
		err = s.open(w, r, session.token, uuid.New(), session.carry)
		if err != nil {
			session.agent.Close()
		}
	}
	if err != nil {
		s.fail(w, r, err)
	}
}

// newPTY checks everything that can be said before the agent is asked.
func (s *Server) newPTY(r *http.Request) (*ptySession, error) {
	user, token, secret, err := s.ptyUser(r)
	if err != nil {
		return nil, err
	}
	id, err := pathID(r)
	if err != nil {
		return nil, err
	}
	agent, err := s.config.Store.Agent(r.Context(), id)
	if err == nil && agent.OwnerID != user.ID {
		err = notFound()
	}
	if err != nil {
		return nil, err
	}
	query := r.URL.Query()
	init, err := readPTYQuery(query)
	if err != nil {
		return nil, err
	}
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		return nil, reject(http.StatusUpgradeRequired, "A terminal needs a websocket.", "Ask with a websocket client, or open the workspace's page in a browser.")
	}
	session := &ptySession{agents: s.config.Agents, id: agent.ID, init: init, token: token, signs: s.signs}
	if query.Get("flow") == "1" {
		session.window = newCredit(flowWindow)
	}
	if secret != "" {
		session.used = s.sessionUse(secret)
	}
	return session, nil
}

// ptyUser is who asks for a terminal: by a token as everywhere, or, from a page
// of ours, by the browser's session. This is the one route of the API that takes
// a cookie, because a page cannot add a header to a websocket, and a token in the
// URL would end in the logs of proxies. Browsers send cookies with the websockets
// of every page and read their answers, so here the origin is all that tells our
// page from another: it must be there, and ours.
func (s *Server) ptyUser(r *http.Request) (user store.User, token store.Token, secret string, err error) {
	if presentedToken(r) != "" || s.config.Session == nil {
		user, token, err = s.user(r)
		return user, token, "", err
	}
	proof, secret, err := s.config.Session(r)
	if errors.Is(err, store.ErrNotFound) {
		user, token, err = s.user(r)
		return user, token, "", err
	}
	if err == nil {
		err = s.checkOrigin(r)
	}
	if err != nil {
		return user, token, "", err
	}
	return proof.User, store.Token{ID: store.SessionID(secret), UserID: proof.User.ID}, secret, nil
}

// checkOrigin takes the access URL as the origin of a page, and the host that the
// request itself names, with the access URL's scheme.
func (s *Server) checkOrigin(r *http.Request) error {
	access, err := url.Parse(s.config.AccessURL)
	origin, problem := url.Parse(r.Header.Get("Origin"))
	if err != nil || problem != nil || origin.Host == "" || origin.Scheme != access.Scheme ||
		!strings.EqualFold(origin.Host, access.Host) && !strings.EqualFold(origin.Host, r.Host) {
		return reject(http.StatusForbidden, "This websocket was not opened by a page of this server.", "Open the terminal at "+s.config.AccessURL+", or send a token in the header "+tokenHeader+".")
	}
	return nil
}

// useStep is how often the use of a session is noted.
const useStep = time.Minute

// sessionUse gives a function that notes the use of a session, so that it does
// not end while somebody types. It is for one goroutine.
func (s *Server) sessionUse(secret string) func() {
	noted := time.Now()
	return func() {
		if time.Since(noted) < useStep {
			return
		}
		noted = time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), changeLimit)
		defer cancel()
		// Whether the session is good is looked at elsewhere, and ends the connection.
		_, _ = s.config.Store.SessionUser(ctx, secret)
	}
}

func readPTYQuery(query url.Values) (ptyInit, error) {
	id, err := uuid.Parse(query.Get("reconnect"))
	if err != nil || id == uuid.Nil {
		return ptyInit{}, rejectField(http.StatusBadRequest, "The terminal's id is not a UUID.", "reconnect", "Want a UUID of your choice; the same one comes back to the same terminal.")
	}
	result := ptyInit{ID: id}
	for name, size := range map[string]*uint16{"width": &result.Width, "height": &result.Height} {
		if *size, err = readSize(query.Get(name)); err != nil {
			return ptyInit{}, rejectField(http.StatusBadRequest, "The terminal's size is not valid.", name, err.Error())
		}
	}
	for name, text := range map[string]struct {
		into  *string
		limit int
	}{
		"command": {&result.Command, ptyCommandLimit}, "container": {&result.Container, ptyNameLimit},
		"container_user": {&result.ContainerUser, ptyNameLimit}, "backend_type": {&result.BackendType, ptyNameLimit},
	} {
		if *text.into = query.Get(name); len(*text.into) > text.limit {
			return ptyInit{}, rejectField(http.StatusBadRequest, "The terminal's settings are too long.", name, fmt.Sprintf("Want %d bytes at most.", text.limit))
		}
	}
	return result, nil
}

// readSize is a number of cells; none, and 0, is the default.
func readSize(text string) (uint16, error) {
	if text == "" {
		return ptyDefaultSize, nil
	}
	size, err := strconv.ParseUint(text, 10, 16)
	switch {
	case err != nil || size > ptySizeLimit:
		return 0, fmt.Errorf("want a number from 1 to %d", ptySizeLimit)
	case size == 0:
		return ptyDefaultSize, nil
	}
	return uint16(size), nil
}

// message is the first message on the wire: its length, little-endian, and JSON.
func (i ptyInit) message() ([]byte, error) {
	body, err := json.Marshal(i)
	if err == nil && len(body) > 1<<16-1 {
		err = fmt.Errorf("%d bytes are above the limit of 64 KiB", len(body))
	}
	if err != nil {
		return nil, fmt.Errorf("encode terminal's settings: %w", err)
	}
	return append(binary.LittleEndian.AppendUint16(nil, uint16(len(body))), body...), nil
}

// agentFailure is what a caller hears of an agent that was not reached.
func agentFailure(err error) error {
	switch {
	case errors.Is(err, tailnetclient.ErrNotConnected):
		return reject(http.StatusPreconditionRequired, "The agent is not connected.", "Start the workspace, or see on its machine whether causeway-agent runs and reaches this server.")
	case errors.Is(err, tailnetclient.ErrSilent):
		return reject(http.StatusGatewayTimeout, "The agent is connected, but does not answer in the tunnel.", "Try again; if it stays so, start the agent again.")
	case errors.Is(err, tailnetclient.ErrBusy), errors.Is(err, tailnetclient.ErrClosed):
		rejection := reject(http.StatusServiceUnavailable, "The server cannot open a connection to the agent now.", err.Error())
		rejection.retry = time.Second
		return rejection
	}
	return reject(http.StatusBadGateway, "The agent refused the connection.", "It may be of a version that does not have this. "+err.Error())
}
