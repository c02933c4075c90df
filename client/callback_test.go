package client

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// The browser of these tests.
func visit(t *testing.T, target string) (int, string) {
	t.Helper()
	response, err := http.Get(target)
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	if policy := response.Header.Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none'") {
		t.Errorf("%s: policy %q", target, policy)
	}
	return response.StatusCode, string(body)
}

// exchange answers the code "good" that belongs to the challenge.
func (d *deployment) exchange(challenge *string) {
	d.mux.HandleFunc("POST /base/oauth2/token", func(w http.ResponseWriter, r *http.Request) {
		sum := sha256.Sum256([]byte(r.FormValue("code_verifier")))
		w.Header().Set("Content-Type", "application/json")
		if r.FormValue("code") != "good" || base64.RawURLEncoding.EncodeToString(sum[:]) != *challenge || r.FormValue("client_id") != "causeway" ||
			!strings.HasPrefix(r.FormValue("redirect_uri"), "http://127.0.0.1:") {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"error":"invalid_grant"}`)
			return
		}
		fmt.Fprintf(w, `{"access_token":%q,"token_type":"Bearer","expires_in":60}`, secretToken)
	})
}

func TestBrowser(t *testing.T) {
	d, challenge := newDeployment(t), ""
	d.exchange(&challenge)
	var redirect string
	grant, err := d.discover(d.options()).Browser(t.Context(), func(target string) error {
		asked := mustURL(target)
		query := asked.Query()
		if asked.Host != "cw.example.com" || query.Get("response_type") != "code" || query.Get("client_id") != "causeway" ||
			query.Get("code_challenge_method") != "S256" || query.Get("device_name") != "laptop" || len(query.Get("state")) < 20 {
			t.Errorf("asked for %s", target)
		}
		challenge, redirect = query.Get("code_challenge"), query.Get("redirect_uri")
		state := "?state=" + query.Get("state")
		for _, refused := range []struct {
			target string
			status int
		}{
			{strings.TrimSuffix(redirect, "/callback") + "/" + state, http.StatusNotFound},
			{strings.TrimSuffix(redirect, "/callback") + "/favicon.ico", http.StatusNotFound},
			{strings.Replace(redirect, "127.0.0.1", "localhost", 1) + state + "&code=evil", http.StatusNotFound},
			{redirect + "?state=wrong&code=evil", http.StatusBadRequest},
			{redirect + "?state=wrong&error=access_denied", http.StatusBadRequest},
			{redirect + "?code=evil", http.StatusBadRequest},
			{redirect + state + "&code=good&iss=" + url.QueryEscape(accessText), http.StatusOK},
			{redirect + state + "&code=evil", http.StatusGone},
		} {
			status, body := visit(t, refused.target)
			if status != refused.status || status == http.StatusOK && !strings.Contains(body, "You may close this page") || strings.Contains(body, "evil") {
				t.Errorf("%s: HTTP %d, want %d\n%s", refused.target, status, refused.status, body)
			}
		}
		return nil
	})
	if err != nil || string(grant.Token) != secretToken {
		t.Fatalf("Browser() = %v", err)
	}
	if _, err := http.Get(redirect); err == nil {
		t.Error("somebody still listens after the sign-in")
	}
}

func TestBrowserFails(t *testing.T) {
	broken := errors.New("no browser")
	for name, c := range map[string]struct {
		answer string
		want   error
	}{
		"denied":         {"&error=access_denied&iss=", ErrDenied},
		"replayed":       {"&code=replayed&iss=" + url.QueryEscape(accessText), ErrCodeUsed},
		"no server":      {"&code=good", ErrForeignEndpoint},
		"another server": {"&code=good&iss=https%3A%2F%2Fevil.example.com", ErrForeignEndpoint},
		"no opener":      {"", broken},
	} {
		t.Run(name, func(t *testing.T) {
			d, challenge := newDeployment(t), ""
			d.exchange(&challenge)
			_, err := d.discover(d.options()).Browser(t.Context(), func(target string) error {
				if errors.Is(c.want, broken) {
					return broken
				}
				query := mustURL(target).Query()
				challenge = query.Get("code_challenge")
				visit(t, query.Get("redirect_uri")+"?state="+query.Get("state")+c.answer)
				return nil
			})
			if !errors.Is(err, c.want) {
				t.Errorf("Browser() = %v, want %v", err, c.want)
			}
		})
	}
	d := newDeployment(t)
	_, err := d.discover(d.options()).Browser(t.Context(), func(target string) error {
		query := mustURL(target).Query()
		visit(t, query.Get("redirect_uri")+"?state="+query.Get("state")+"&error=server_error&error_description=out%1b%5b31m")
		return nil
	})
	var refused *GrantError
	if !errors.As(err, &refused) || refused.Code != "server_error" || strings.Contains(err.Error(), "\x1b") {
		t.Errorf("Browser() = %q", err)
	}
}

func TestBrowserTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		_, err := newCallback("127.0.0.1:1", "").wait(t.Context())
		if !errors.Is(err, ErrNoCallback) || time.Since(start) != 5*time.Minute {
			t.Errorf("wait() = %v after %s", err, time.Since(start))
		}
	})
}

func TestBrowserCancelled(t *testing.T) {
	d := newDeployment(t)
	ctx, cancel := context.WithCancel(t.Context())
	var redirect string
	_, err := d.discover(d.options()).Browser(ctx, func(target string) error {
		redirect = mustURL(target).Query().Get("redirect_uri")
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Browser() = %v, want %v", err, context.Canceled)
	}
	if _, err := http.Get(redirect); err == nil {
		t.Error("somebody still listens after a cancel")
	}
}
