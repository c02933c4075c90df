package signin

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/causewayhq/causeway/server/limit"
	"github.com/causewayhq/causeway/server/store"
)

// home tells a browser what this is and how to connect, and its user where the
// workspaces are.
func (s *Server) home(v *visit) {
	var names []string
	if v.user != nil {
		workspaces, err := s.config.Store.WorkspacesOf(v.r.Context(), v.user.ID)
		if err != nil {
			s.logTrouble(v.r.Context(), err) // the page is of use without them
		}
		for _, workspace := range workspaces {
			names = append(names, workspace.Name)
		}
	}
	v.render(http.StatusOK, "home.html", view{Title: "Causeway", Own: names})
}

type loginPage struct{ Username, Next string }

func (s *Server) showLogin(v *visit) {
	next := safeNext(v.r.URL.Query().Get("next"))
	v.render(http.StatusOK, "login.html", view{Title: "Sign in", Own: loginPage{Next: next}})
}

// workLimit bounds how long a sign-in waits for its turn to be checked.
const workLimit = 10 * time.Second

func (s *Server) login(v *visit) {
	name, next := strings.TrimSpace(v.form.Get("username")), safeNext(v.form.Get("next"))
	ctx, cancel := context.WithTimeout(v.r.Context(), workLimit)
	defer cancel()
	proof, wait, err := s.authenticate(ctx, limit.Address(v.r), name, v.form.Get("password"))
	if err == nil && wait == 0 {
		err = v.signIn(proof)
	}
	switch {
	case wait > 0:
		v.tooMany(wait)
	case errors.Is(err, store.ErrWrongPassword), errors.Is(err, store.ErrProofEnded):
		s.logRefusal(v, name)
		v.render(http.StatusUnauthorized, "login.html", view{
			Title: "Sign in", Own: loginPage{Username: name, Next: next},
			Error: "The user name, the password or the one-time code is wrong. Check them, or ask an administrator for a one-time code: causeway-server user code NAME",
		})
	case err != nil:
		s.logTrouble(v.r.Context(), err)
		v.fail(http.StatusServiceUnavailable, "The server is busy", "You are not signed in. Try again in a moment; the server's log has the cause.")
	default:
		v.logger().Info("signed in", slog.String("user", proof.User.Name))
		v.redirect(next)
	}
}

// logRefusal names the user only if there is one: people type passwords into the
// wrong field.
func (s *Server) logRefusal(v *visit, typed string) {
	name := "(unknown)"
	if user, err := s.config.Store.UserByName(v.r.Context(), typed); err == nil {
		name = user.Name
	}
	v.logger().Info("sign-in refused", slog.String("user", name))
}

// authenticate checks a password or a one-time code, as often as the limits
// allow. An attempt is counted before it is made, and given back when it was
// right: of many at the same time no more are made than the limit says.
func (s *Server) authenticate(ctx context.Context, address netip.Prefix, name, secret string) (store.Proof, time.Duration, error) {
	at := time.Now()
	account := digestOf(strings.ToLower(name))
	both := pair{account, address}
	if wait := s.addresses.Take(address, at); wait > 0 {
		return store.Proof{}, wait, nil
	}
	proof, err := s.config.Store.UseOneTimeCode(ctx, name, secret)
	if err == nil {
		s.addresses.Return(address)
		return proof, 0, nil
	}
	if !errors.Is(err, store.ErrWrongPassword) {
		return store.Proof{}, 0, err
	}
	if wait := s.pairs.Take(both, at); wait > 0 {
		return store.Proof{}, wait, nil
	}
	if wait := s.accounts.Take(account, at); wait > 0 {
		s.pairs.Return(both)
		return store.Proof{}, wait, nil
	}
	proof, err = s.config.Store.AuthenticatePassword(ctx, name, secret)
	if err == nil {
		s.addresses.Return(address)
		s.pairs.Return(both)
		s.accounts.Return(account)
	}
	return proof, 0, err
}

func (s *Server) logout(v *visit) {
	if v.session != "" {
		if err := s.config.Store.EndSession(v.r.Context(), v.session); err != nil {
			s.logTrouble(v.r.Context(), err)
			v.fail(http.StatusServiceUnavailable, "You are still signed in", "The server could not write its database. Try again in a moment.")
			return
		}
	}
	v.user = nil
	v.setCookie(sessionCookie, "")
	v.say("Signed out", notice{Text: "This browser is signed out. Devices that you have signed in stay so.", Again: "/login", AgainText: "Sign in again"})
}

func (s *Server) showCLIAuth(v *visit) {
	v.render(http.StatusOK, "cliauth.html", view{Title: "Token for a device", Own: ""})
}

// createCLIToken makes a token on a click, and not when a page is merely opened:
// any site can make a browser open a page.
func (s *Server) createCLIToken(v *visit) {
	_, secret, err := s.config.Store.CreateProvenToken(v.r.Context(), v.proof, "copied from /cli-auth", tokenLife)
	if errors.Is(err, store.ErrProofEnded) {
		v.fail(http.StatusForbidden, "You are signed out", "There is no token: the password was changed. Sign in again at "+s.config.AccessURL+"/login")
		return
	}
	if err != nil {
		s.logTrouble(v.r.Context(), err)
		v.fail(http.StatusServiceUnavailable, "There is no token", "The server could not write its database. Try again in a moment.")
		return
	}
	v.logger().Info("token shown on a page", slog.String("user", v.user.Name))
	v.render(http.StatusOK, "cliauth.html", view{Title: "Token for a device", Own: secret.Reveal()})
}
