package signin

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
)

const coderToken = "c0d3r1d3nt-th3s3cr3tp4rt0f1t"

// coder is an existing Coder deployment as a sign-in sees it: users/me,
// buildinfo and users/logout, a page /cli-auth, and the dashboard's page, with
// status 200, at every address that it does not know.
type coder struct {
	ended atomic.Bool
}

func (c *coder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	good := r.Header.Get("Coder-Session-Token") == coderToken && !c.ended.Load()
	answer := func(status int, text string) {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.WriteHeader(status)
		fmt.Fprint(w, text)
	}
	switch {
	case r.URL.Path == "/api/v2/buildinfo":
		answer(http.StatusOK, `{"version":"v2.24.0+0123456"}`)
	case strings.HasPrefix(r.URL.Path, "/api/v2/") && !good:
		answer(http.StatusUnauthorized, `{"message":"You are signed out or your session has expired. Please sign in again to continue.","detail":"Cookie \"coder_session_token\" or query parameter must be provided."}`)
	case r.URL.Path == "/api/v2/users/me":
		answer(http.StatusOK, `{"id":"7f6d1a52-0e5c-4a55-9d1c-3f0a4c0b9e11","username":"carol"}`)
	case r.URL.Path == "/api/v2/users/me/keys/c0d3r1d3nt":
		answer(http.StatusOK, `{"id":"c0d3r1d3nt","expires_at":"2099-01-02T03:04:05Z"}`)
	case r.URL.Path == "/api/v2/users/logout" && r.Method == http.MethodPost:
		c.ended.Store(true)
		answer(http.StatusOK, `{"message":"Logged out!"}`)
	case strings.HasPrefix(r.URL.Path, "/api/"):
		answer(http.StatusNotFound, `{"message":"Route not found."}`)
	default:
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprint(w, "<!doctype html><title>Coder</title><div id=root></div>")
	}
}

func coderFlow(w *world) {
	deployment := &coder{}
	w.serve(coderAddr, deployment)
	w.paste("c0d3r1d3nt-0f-n0b0dy", "login", coderURL).ends(4).says("open "+coderURL+"/cli-auth", "the deployment refuses the token")
	w.paste(coderToken, "login", coderURL).ends(0).says("signed in to " + coderURL + " as carol")
	w.causeway(nil, "login", coderURL, "--device").ends(1).says("does not offer this way of signing in", "paste a token")
	w.causeway(nil, "login", coderURL).ends(2).says("standard input is not a terminal", "--token-file")
	w.eventually("the end of the token is known", func() error {
		r := w.causeway(nil, "profile", "list")
		<-r.code
		if !strings.Contains(r.stdout.String(), "until 2099-01-02") {
			return fmt.Errorf("profiles %s", r.stdout.String())
		}
		return nil
	})
	w.causeway(nil, "logout", "--revoke").ends(0).says("the deployment has ended the token")
	if !deployment.ended.Load() {
		w.Error("the token was not ended")
	}
}
