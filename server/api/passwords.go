package api

import (
	"errors"
	"net/http"
	"time"

	"github.com/causewayhq/causeway/server/store"
)

// guessBurst and guessEvery bound the old passwords that the holder of a token
// may try: a token that was stolen is not to become a password.
const (
	guessBurst = 5
	guessEvery = 30 * time.Second
)

type passwordBody struct {
	// OldPassword, or a one-time code. Administrators need none for others.
	OldPassword string `json:"old_password"`
	Password    string `json:"password"`
	// RevokeTokens ends the user's API tokens too, that of this request included.
	RevokeTokens bool `json:"revoke_tokens"`
}

// setPassword changes one's own password by the old one, or another's as an
// administrator. The user's browser sessions end.
func (s *Server) setPassword(r *http.Request) (int, any, error) {
	caller, _, err := s.user(r)
	if err != nil {
		return 0, nil, err
	}
	user, err := s.subject(r)
	if err != nil {
		return 0, nil, err
	}
	var request passwordBody
	if err := readJSON(r, &request); err != nil {
		return 0, nil, err
	}
	if err := store.CheckPassword(user.Name, request.Password); err != nil {
		return 0, nil, err
	}
	if user.ID == caller.ID {
		if err := s.provePassword(r, user, request.OldPassword); err != nil {
			return 0, nil, err
		}
	}
	if err := s.config.Store.SetPassword(r.Context(), user, request.Password); err != nil {
		return 0, nil, err
	}
	if request.RevokeTokens {
		if _, err := s.config.Store.RevokeUserTokens(r.Context(), user.ID); err != nil {
			return 0, nil, err
		}
		s.changed()
	}
	return http.StatusNoContent, nil, nil
}

func (s *Server) provePassword(r *http.Request, user store.User, old string) error {
	if wait := s.guesses.Take(user.ID, time.Now()); wait > 0 {
		rejection := reject(http.StatusTooManyRequests, "Too many attempts with a wrong password.", "Wait a moment, and check the old password.")
		rejection.retry = wait
		return rejection
	}
	_, err := s.config.Store.UseOneTimeCode(r.Context(), user.Name, old)
	if errors.Is(err, store.ErrWrongPassword) {
		_, err = s.config.Store.AuthenticatePassword(r.Context(), user.Name, old)
	}
	if errors.Is(err, store.ErrWrongPassword) {
		return rejectField(http.StatusBadRequest, "The old password is wrong.", "old_password",
			"Where there is none yet, an administrator makes a one-time code to use here: causeway-server user code "+user.Name)
	}
	if err == nil {
		s.guesses.Return(user.ID)
	}
	return err
}
