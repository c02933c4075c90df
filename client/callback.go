package client

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/oauth2"
)

// CallbackTimeout is how long the browser may take: to sign in with a password
// manager and a second factor.
const CallbackTimeout = 5 * time.Minute

const callbackPath = "/callback"

// Browser signs in by a browser on this machine (RFC 8252 with PKCE): open is
// told which page the user needs, and Browser returns when the browser came
// back with an answer, or after five minutes. An error of open ends it.
func (s *SignIn) Browser(ctx context.Context, open func(page string) error) (Grant, error) {
	grant, err := s.browser(ctx, open)
	if err != nil {
		return Grant{}, fmt.Errorf("sign in by the browser: %w", err)
	}
	return grant, nil
}

func (s *SignIn) browser(ctx context.Context, open func(page string) error) (Grant, error) {
	if !s.CanBrowser() {
		return Grant{}, ErrNoSignIn
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return Grant{}, err
	}
	config, verifier := s.config, oauth2.GenerateVerifier()
	config.RedirectURL = "http://" + listener.Addr().String() + callbackPath
	waiting := newCallback(listener.Addr().String(), s.issuer)
	defer waiting.serve(listener)()
	if err := open(config.AuthCodeURL(waiting.state, oauth2.S256ChallengeOption(verifier), s.deviceName())); err != nil {
		return Grant{}, err
	}
	code, err := waiting.wait(ctx)
	if err != nil {
		return Grant{}, err
	}
	token, err := config.Exchange(s.context(ctx, nil), code, oauth2.VerifierOption(verifier), s.deviceName())
	if err != nil {
		return Grant{}, explain(ctx, err)
	}
	return s.grant(token)
}

// callback takes the one answer that belongs to this sign-in.
type callback struct {
	host, issuer, state string
	answers             chan callbackAnswer
	once                sync.Once
}

type callbackAnswer struct {
	code string
	err  error
}

func newCallback(host, issuer string) *callback {
	return &callback{host: host, issuer: issuer, state: rand.Text(), answers: make(chan callbackAnswer, 1)}
}

// wait gives the code.
func (c *callback) wait(ctx context.Context) (string, error) {
	timer := time.NewTimer(CallbackTimeout)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case <-timer.C:
		return "", fmt.Errorf("%w within %s", ErrNoCallback, CallbackTimeout)
	case answer := <-c.answers:
		return answer.code, answer.err
	}
}

// serve answers until stop, which lets the last page go out.
func (c *callback) serve(listener net.Listener) (stop func()) {
	server := &http.Server{Handler: c, ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10}
	var served sync.WaitGroup
	served.Go(func() { _ = server.Serve(listener) }) // it ends by Close, and fails by nothing else
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if server.Shutdown(ctx) != nil {
			server.Close()
		}
		served.Wait()
	}
}

// ServeHTTP refuses what is not the answer and goes on waiting: any page in
// the browser, and any program on this machine, can send a request here.
func (c *callback) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Connection", "close")
	query := r.URL.Query()
	switch {
	case r.Host != c.host || r.URL.Path != callbackPath || r.Method != http.MethodGet:
		http.NotFound(w, r)
		return
	case subtle.ConstantTimeCompare([]byte(query.Get("state")), []byte(c.state)) != 1:
		page(w, http.StatusBadRequest, "This is not the answer that Causeway waits for", "Start again from the page that the terminal shows.")
		return
	}
	first := false
	c.once.Do(func() { first = true })
	if !first {
		page(w, http.StatusGone, "This answer was taken already", "You may close this page.")
		return
	}
	answer := callbackAnswer{code: query.Get("code")}
	switch issuer := query.Get("iss"); {
	case query.Get("error") == "access_denied":
		answer.err = ErrDenied
	case query.Get("error") != "":
		answer.err = &GrantError{Code: oneLine(query.Get("error")), Description: oneLine(query.Get("error_description")), Status: http.StatusBadRequest}
	case c.issuer != "" && issuer != c.issuer: // RFC 9207
		answer.err = fmt.Errorf("%w: the answer is from %s", ErrForeignEndpoint, oneLine(issuer))
	case answer.code == "":
		answer.err = errors.New("the answer has no code")
	}
	if answer.err != nil {
		page(w, http.StatusOK, "Causeway is not signed in", "You may close this page. The terminal says why.")
	} else {
		page(w, http.StatusOK, "Causeway has the answer", "You may close this page and go back to the terminal.")
	}
	c.answers <- answer
}

// page writes fixed words only: nothing of the request is in them.
func page(w http.ResponseWriter, status int, title, text string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	fmt.Fprintf(w, `<!doctype html><html lang="en"><meta charset="utf-8"><title>%[1]s</title>
<style>body{font:1.1em system-ui,sans-serif;max-width:34em;margin:4em auto;padding:0 1em;color-scheme:light dark}</style>
<h1>%[1]s</h1><p>%[2]s</p></html>
`, title, text)
}
