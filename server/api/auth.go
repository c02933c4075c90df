package api

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/server/limit"
	"github.com/causewayhq/causeway/server/store"
)

// tokenHeader carries the token of users and agents alike. The cookie and the
// query parameter of the same meaning are not taken: a cookie would let any web
// page open a tunnel (the websocket routes take every origin), and a query ends
// in the logs of proxies.
const tokenHeader = "Coder-Session-Token"

const loginHint = "Send a valid token in the header " + tokenHeader + ". Create one with: causeway-server token create USER"

func presentedToken(r *http.Request) string {
	if token := strings.TrimSpace(r.Header.Get(tokenHeader)); token != "" {
		return token
	}
	scheme, token, found := strings.Cut(r.Header.Get("Authorization"), " ")
	if found && strings.EqualFold(scheme, "bearer") {
		return strings.TrimSpace(token)
	}
	return ""
}

func (s *Server) user(r *http.Request) (store.User, store.Token, error) {
	token := presentedToken(r)
	if token == "" {
		return store.User{}, store.Token{}, reject(http.StatusUnauthorized, "You are signed out or your session has expired. Please sign in again to continue.", "No token was sent. "+loginHint)
	}
	user, found, err := s.config.Store.AuthenticateUser(r.Context(), token)
	return user, found, s.unauthorized(r, err)
}

func (s *Server) agent(r *http.Request) (store.Agent, store.Token, error) {
	token := presentedToken(r)
	if token == "" {
		return store.Agent{}, store.Token{}, reject(http.StatusUnauthorized, "Agent token is required.", "Send it in the header "+tokenHeader+". Create one with: causeway-server agent token USER/WORKSPACE/AGENT")
	}
	agent, found, err := s.config.Store.AuthenticateAgent(r.Context(), token)
	return agent, found, s.unauthorized(r, err)
}

// unauthorized gives the reasons a token is refused their 401, and leaves other
// errors alone. An address from which too many unknown tokens come gets a 429
// without a reason. Whoever shows a token that was right once guesses nothing,
// and always hears to sign in again: a whole office may sit behind one address.
func (s *Server) unauthorized(r *http.Request, err error) error {
	var detail string
	switch {
	case errors.Is(err, store.ErrTokenUnknown):
		detail = "The token is not known to this server: check that it is complete and for this URL."
	case errors.Is(err, store.ErrTokenExpired):
		detail = "The token has expired: create a new one."
	case errors.Is(err, store.ErrTokenRevoked):
		detail = "The token has been revoked: create a new one."
	case errors.Is(err, store.ErrAgentToken):
		detail = "This is an agent's token; a user's API token is needed here."
	case errors.Is(err, store.ErrUserToken):
		detail = "This is a user's API token; an agent's token is needed here."
	default:
		return err
	}
	if errors.Is(err, store.ErrTokenUnknown) && s.failures.admit(limit.Address(r), time.Now()) > 0 {
		rejection := reject(http.StatusTooManyRequests, "Too many attempts with a wrong token.", "Wait a moment, and check the token.")
		rejection.retry = time.Second
		return rejection
	}
	return reject(http.StatusUnauthorized, "You are signed out or your session has expired. Please sign in again to continue.", detail)
}

// subject resolves {user} of a path: "me", a name or an id. Only
// administrators may name somebody else.
func (s *Server) subject(r *http.Request) (store.User, error) {
	caller, _, err := s.user(r)
	if err != nil {
		return store.User{}, err
	}
	wanted := r.PathValue("user")
	if wanted == "me" || wanted == caller.ID.String() || strings.EqualFold(wanted, caller.Name) {
		return caller, nil
	}
	if !caller.Admin {
		return store.User{}, notFound()
	}
	if id, err := uuid.Parse(wanted); err == nil {
		return s.config.Store.User(r.Context(), id)
	}
	return s.config.Store.UserByName(r.Context(), wanted)
}

// self is subject for what is nobody's business but the user's own,
// administrators included.
func (s *Server) self(r *http.Request) (store.User, error) {
	caller, _, err := s.user(r)
	if err != nil {
		return store.User{}, err
	}
	wanted := r.PathValue("user")
	if wanted != "me" && wanted != caller.ID.String() && !strings.EqualFold(wanted, caller.Name) {
		return store.User{}, notFound()
	}
	return caller, nil
}

func (s *Server) admin(r *http.Request) (store.User, error) {
	caller, _, err := s.user(r)
	if err == nil && !caller.Admin {
		err = reject(http.StatusForbidden, "Only administrators may manage users.", "")
	}
	return caller, err
}

// pathID reads {id}; what is no UUID does not exist.
func pathID(r *http.Request) (uuid.UUID, error) {
	id, err := uuid.Parse(r.PathValue("id"))
	if err != nil {
		return uuid.Nil, rejectField(http.StatusBadRequest, "The id in the path is not a UUID.", "id", err.Error())
	}
	return id, nil
}
