package signin

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/causewayhq/causeway/server/store"
)

// ErrNoSession is the answer for a request without a session that is good. It is
// a store.ErrNotFound.
var ErrNoSession = fmt.Errorf("no browser session: %w", store.ErrNotFound)

// Session finds who is signed in with the browser that asks, and the session's
// secret, for the other parts of the server that serve pages. Without a session
// the error is ErrNoSession; any other is the database's. Whoever acts upon a
// request, and not only shows something, must check where it came from besides:
// browsers send cookies with what other pages ask, too.
func (s *Server) Session(r *http.Request) (store.Proof, string, error) {
	v := &visit{s: s, r: r}
	secret := v.cookie(sessionCookie)
	if len(secret) != store.SessionLength {
		return store.Proof{}, "", ErrNoSession
	}
	proof, err := s.config.Store.SessionUser(r.Context(), secret)
	if errors.Is(err, store.ErrNotFound) {
		return store.Proof{}, "", ErrNoSession
	}
	if err != nil {
		return store.Proof{}, "", fmt.Errorf("find session of the browser: %w", err)
	}
	return proof, secret, nil
}
