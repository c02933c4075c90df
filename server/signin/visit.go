package signin

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/causewayhq/causeway/server/store"
)

// visit is one request for a page.
type visit struct {
	s *Server
	w http.ResponseWriter
	r *http.Request

	user    *store.User // nil: not signed in
	proof   store.Proof // of that user
	session string      // the cookie of a session that is good
	csrf    string      // what the page's forms carry
	form    url.Values  // of a POST
	action  string      // where the page's forms may lead besides here
}

// Names of the two cookies: the session's, and the one that binds forms to a
// browser that is not signed in. With the prefix, no other host and no plain
// connection can set them.
const (
	sessionCookie = "causeway_session"
	formCookie    = "causeway_form"
	hostPrefix    = "__Host-"
)

func (s *Server) cookieName(name string) string {
	if s.secure {
		return hostPrefix + name
	}
	return name
}

// setCookie sets a cookie for as long as the browser runs; an empty value ends
// it. Lax, because people come by links and by other programs; forms do not.
func (v *visit) setCookie(name, value string) {
	cookie := &http.Cookie{Name: v.s.cookieName(name), Value: value, Path: "/", HttpOnly: true, Secure: v.s.secure, SameSite: http.SameSiteLaxMode}
	if value == "" {
		cookie.MaxAge = -1
	}
	http.SetCookie(v.w, cookie)
}

// cookie is the value of one of ours, "" when it cannot be one.
func (v *visit) cookie(name string) string {
	found, err := v.r.Cookie(v.s.cookieName(name))
	if err != nil || len(found.Value) > 128 {
		return ""
	}
	return found.Value
}

// formToken is what a form carries to show that it came from a page of ours in
// this browser. It says nothing of the cookie that it is made of.
func formToken(cookie string) string {
	sum := hmac.New(sha256.New, []byte(cookie))
	sum.Write([]byte("causeway form"))
	return base64.RawURLEncoding.EncodeToString(sum.Sum(nil))
}

// page wraps a page: headers, session, and for forms their origin and token.
func (s *Server) page(handler func(*visit)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v := &visit{s: s, w: w, r: r}
		v.secureHeaders()
		if err := v.findSession(); err != nil {
			s.logTrouble(r.Context(), err)
			v.fail(http.StatusServiceUnavailable, "The server is in trouble", "It could not read its database. Try again in a moment; its log has the cause.")
			return
		}
		if r.Method == http.MethodPost && !v.readForm() {
			return
		}
		handler(v)
	}
}

// findSession finds out who asks. A browser without a session gets a cookie for
// its forms, which never becomes a session.
func (v *visit) findSession() error {
	if secret := v.cookie(sessionCookie); len(secret) == store.SessionLength {
		proof, err := v.s.config.Store.SessionUser(v.r.Context(), secret)
		if err == nil {
			v.proof, v.session, v.csrf = proof, secret, formToken(secret)
			v.user = &v.proof.User
			return nil
		}
		if !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
	known := v.cookie(formCookie)
	if len(known) != formCookieLength && v.r.Method != http.MethodPost {
		known = rand.Text() + rand.Text()
		v.setCookie(formCookie, known)
	}
	if len(known) == formCookieLength {
		v.csrf = formToken(known)
	}
	return nil
}

// formCookieLength is that of two of rand.Text: 260 bits.
const formCookieLength = 52

// readForm reads a page's form, and refuses it when it is not of our own page in
// this browser and for this user.
func (v *visit) readForm() bool {
	if err := v.s.cross.Check(v.r); err != nil {
		v.fail(http.StatusForbidden, "This form came from another site", "Nothing was done. Open "+v.s.config.AccessURL+" and begin again.")
		return false
	}
	form, err := readForm(v.r)
	if err != nil {
		v.fail(http.StatusBadRequest, "The form cannot be read", "Nothing was done: "+err.Error()+". Open the page again.")
		return false
	}
	v.form = form
	if v.csrf == "" || subtle.ConstantTimeCompare([]byte(form.Get("csrf")), []byte(v.csrf)) != 1 {
		v.fail(http.StatusForbidden, "The page is too old",
			"Nothing was done: you have signed in or out since it was opened, or the browser keeps no cookies for "+v.s.config.AccessURL+". Open the page again.")
		return false
	}
	return true
}

// signedIn sends whoever is not signed in to do so first.
func (s *Server) signedIn(handler func(*visit)) func(*visit) {
	return func(v *visit) {
		if v.user == nil {
			v.toLogin()
			return
		}
		handler(v)
	}
}

// toLogin leads to the sign-in page, and from there back to this one.
func (v *visit) toLogin() {
	next := v.r.URL.Path
	if v.r.Method == http.MethodGet && v.r.URL.RawQuery != "" {
		next += "?" + v.r.URL.RawQuery
	}
	v.redirect("/login?" + url.Values{"next": {safeNext(next)}}.Encode())
}

func (v *visit) redirect(target string) {
	v.w.Header().Set("Location", target)
	v.w.WriteHeader(http.StatusSeeOther)
}

// workspacePage is a page of server/terminal.
var workspacePage = regexp.MustCompile(`^/@[A-Za-z0-9_-]{1,63}/[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})?(/terminal)?$`)

// safeNext is where to go after a sign-in: one of our own pages, taken apart and
// put together again, or the home page. No text of anybody else's is a host here.
func safeNext(next string) string {
	path, query, _ := strings.Cut(next, "?")
	switch {
	case path == "/device", path == "/cli-auth", path == "/oauth2/authorize", workspacePage.MatchString(path):
	default:
		return "/"
	}
	fields, err := parseFields(query)
	if err != nil || len(fields) == 0 {
		return path
	}
	target := path + "?" + fields.Encode()
	if len(target) > fieldLimit { // of the form that carries it
		return path
	}
	return target
}

// signIn gives the browser a session of its own: whatever it had ends, so that
// nobody can have chosen it.
func (v *visit) signIn(proof store.Proof) error {
	ctx := v.r.Context()
	if v.session != "" {
		if err := v.s.config.Store.EndSession(ctx, v.session); err != nil {
			return err
		}
	}
	secret, err := v.s.config.Store.CreateSession(ctx, proof)
	if err != nil {
		return err
	}
	v.setCookie(sessionCookie, secret.Reveal())
	return nil
}

func (v *visit) logger() *slog.Logger {
	return v.s.config.Logger.With(slog.String("address", hostOf(v.r)))
}
