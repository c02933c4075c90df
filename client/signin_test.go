package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const secretToken = "abcdef1234-s3cr3ts3cr3t"

// deployment is the server's side, as far as a test wants it; requests reach
// it without a network, so that time may be a test's own.
type deployment struct {
	t        *testing.T
	metadata string
	mux      *http.ServeMux
	mu       sync.Mutex
	polls    []time.Time
}

const accessText = "https://cw.example.com/base"

func newDeployment(t *testing.T) *deployment {
	d := &deployment{t: t, mux: http.NewServeMux()}
	d.metadata = `{"issuer":"` + accessText + `","authorization_endpoint":"` + accessText + `/oauth2/authorize","token_endpoint":"` + accessText +
		`/oauth2/token","device_authorization_endpoint":"` + accessText + `/oauth2/device","revocation_endpoint":"` + accessText +
		`/oauth2/revoke","code_challenge_methods_supported":["S256"],"authorization_response_iss_parameter_supported":true}`
	d.mux.HandleFunc("GET /base/.well-known/oauth-authorization-server", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, d.metadata)
	})
	return d
}

// RoundTrip is the network.
func (d *deployment) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Header.Get("X-Front") != "pass" {
		d.t.Errorf("%s %s came without the custom header", r.Method, r.URL)
	}
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	w := httptest.NewRecorder()
	d.mux.ServeHTTP(w, r)
	if w.Code == http.StatusTeapot {
		return nil, errors.New("connection refused")
	}
	return w.Result(), nil
}

func (d *deployment) options() SignInOptions {
	return SignInOptions{
		Options:    Options{HTTP: &http.Client{Transport: d}, Header: http.Header{"X-Front": {"pass"}}},
		DeviceName: "laptop",
	}
}

func (d *deployment) discover(options SignInOptions) *SignIn {
	d.t.Helper()
	s, err := Discover(d.t.Context(), mustURL(accessText), options)
	if err != nil {
		d.t.Fatal(err)
	}
	return s
}

func mustURL(text string) *url.URL {
	u, err := url.Parse(text)
	if err != nil {
		panic(err)
	}
	return u
}

// device answers the request for a code, and each poll with the next of these:
// the name of an error, "teapot" for no connection, "500", "html", or "token".
func (d *deployment) device(code string, answers ...string) {
	d.mux.HandleFunc("POST /base/oauth2/device", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("client_id") != "causeway" || r.FormValue("device_name") != "laptop" {
			d.t.Errorf("device request %v", r.Form)
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, code)
	})
	d.mux.HandleFunc("POST /base/oauth2/token", func(w http.ResponseWriter, r *http.Request) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.polls = append(d.polls, time.Now())
		if r.FormValue("grant_type") != "urn:ietf:params:oauth:grant-type:device_code" || r.FormValue("device_code") != "dc" || r.FormValue("client_id") != "causeway" {
			d.t.Errorf("poll %v", r.Form)
		}
		answer := "authorization_pending"
		if len(answers) > 0 {
			answer, answers = answers[0], answers[1:]
		}
		w.Header().Set("Content-Type", "application/json")
		switch answer {
		case "teapot":
			w.WriteHeader(http.StatusTeapot)
		case "500":
			http.Error(w, secretToken, http.StatusInternalServerError)
		case "html":
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, "<html>sign in to the hotel</html>")
		case "token":
			fmt.Fprintf(w, `{"access_token":%q,"token_type":"Bearer","expires_in":3600}`, secretToken)
		default:
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprintf(w, `{"error":%q,"error_description":"because\u001b[31m"}`, answer)
		}
	})
}

const codeAnswer = `{"device_code":"dc","user_code":"ABCD-EFGH","verification_uri":"` + accessText + `/device","verification_uri_complete":"` + accessText +
	`/device?code=ABCD-EFGH","expires_in":600,"interval":5}`

func TestDiscover(t *testing.T) {
	d := newDeployment(t)
	good := d.metadata
	if s := d.discover(d.options()); !s.CanBrowser() {
		t.Error("no browser flow")
	}
	for name, c := range map[string]struct {
		metadata string
		want     error
	}{
		"another host":      {strings.Replace(good, accessText+"/oauth2/token", "https://evil.example.com/token", 1), ErrForeignEndpoint},
		"another port":      {strings.Replace(good, accessText+"/oauth2/device", "https://cw.example.com:8443/device", 1), ErrForeignEndpoint},
		"downgrade":         {strings.Replace(good, accessText+"/oauth2/authorize", "http://cw.example.com/oauth2/authorize", 1), ErrForeignEndpoint},
		"revoke elsewhere":  {strings.Replace(good, accessText+"/oauth2/revoke", "https://evil.example.com/", 1), ErrForeignEndpoint},
		"a password in it":  {strings.Replace(good, "https://cw.example.com/base/oauth2/token", "https://u:p@cw.example.com/t", 1), ErrForeignEndpoint},
		"no devices":        {strings.Replace(good, "device_authorization_endpoint", "registration_endpoint", 1), ErrNoSignIn},
		"a page":            {"<!doctype html>", ErrNoSignIn},
		"an empty document": {"{}", ErrNoSignIn},
	} {
		d.metadata = c.metadata
		if _, err := Discover(t.Context(), mustURL(accessText), d.options()); !errors.Is(err, c.want) {
			t.Errorf("%s: Discover() = %v, want %v", name, err, c.want)
		}
	}
	d.metadata = strings.Replace(good, `["S256"]`, `["plain"]`, 1)
	s := d.discover(d.options())
	if _, err := s.Browser(t.Context(), nil); !errors.Is(err, ErrNoSignIn) || s.CanBrowser() {
		t.Errorf("Browser() without S256 = %v, want %v", err, ErrNoSignIn)
	}
	d.mux = http.NewServeMux()
	if _, err := Discover(t.Context(), mustURL(accessText), d.options()); !errors.Is(err, ErrNoSignIn) {
		t.Errorf("Discover() where there is none = %v, want %v", err, ErrNoSignIn)
	}
	d.mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
	var rejected *Error
	if _, err := Discover(t.Context(), mustURL(accessText), d.options()); !errors.As(err, &rejected) || rejected.Status != http.StatusForbidden {
		t.Errorf("Discover() where it is forbidden = %v, want HTTP 403", err)
	}
}

func TestDiscoverUpgrade(t *testing.T) {
	if err := own(mustURL("http://cw.example.com"), "https://cw.example.com/x"); err != nil {
		t.Errorf("from http to https: %v", err)
	}
}

func TestDevice(t *testing.T) {
	for name, c := range map[string]struct {
		answers []string
		want    error
		polls   []int // seconds
		trouble int
	}{
		"approved":        {answers: []string{"authorization_pending", "token"}, polls: []int{5, 10}},
		"slow down":       {answers: []string{"slow_down", "authorization_pending", "token"}, polls: []int{5, 15, 25}},
		"denied":          {answers: []string{"access_denied"}, want: ErrDenied, polls: []int{5}},
		"expired":         {answers: []string{"expired_token"}, want: ErrCodeExpired, polls: []int{5}},
		"used":            {answers: []string{"invalid_grant"}, want: ErrCodeUsed, polls: []int{5}},
		"away for a time": {answers: []string{"teapot", "500", "html", "token"}, polls: []int{5, 15, 30, 50}, trouble: 3},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, trouble := newDeployment(t), 0
				d.device(codeAnswer, c.answers...)
				options := d.options()
				options.Trouble = func(err error) {
					trouble++
					if strings.Contains(err.Error(), secretToken) {
						t.Errorf("trouble shows the answer: %v", err)
					}
				}
				start := time.Now()
				var shown DeviceCode
				grant, err := d.discover(options).Device(t.Context(), func(code DeviceCode) { shown = code })
				if !errors.Is(err, c.want) {
					t.Errorf("Device() = %v, want %v", err, c.want)
				}
				if c.want == nil && (string(grant.Token) != secretToken || time.Until(grant.Expires) != time.Hour) {
					t.Errorf("grant %q until %v", string(grant.Token), grant.Expires)
				}
				if shown.UserCode != "ABCD-EFGH" || shown.URL != accessText+"/device" || shown.FullURL != accessText+"/device?code=ABCD-EFGH" || shown.Expires.Sub(start) != 10*time.Minute {
					t.Errorf("shown %+v", shown)
				}
				var polls []int
				for _, at := range d.polls {
					polls = append(polls, int(at.Sub(start)/time.Second))
				}
				if fmt.Sprint(polls) != fmt.Sprint(c.polls) || trouble != c.trouble {
					t.Errorf("polls at %v s, want %v; trouble %d times, want %d", polls, c.polls, trouble, c.trouble)
				}
			})
		})
	}
}

// A server that says no end, or one in a year, is not asked for ever.
func TestDeviceEnds(t *testing.T) {
	for name, c := range map[string]struct {
		code string
		want time.Duration
	}{
		"said":       {codeAnswer, 10 * time.Minute},
		"unsaid":     {strings.Replace(codeAnswer, `"expires_in":600,`, "", 1), 10 * time.Minute},
		"a year":     {strings.Replace(codeAnswer, "600", "31536000", 1), time.Hour},
		"a negative": {strings.Replace(codeAnswer, `"interval":5`, `"interval":-5`, 1), 10 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDeployment(t)
				d.device(c.code)
				start := time.Now()
				_, err := d.discover(d.options()).Device(t.Context(), func(DeviceCode) {})
				if took := time.Since(start); !errors.Is(err, ErrCodeExpired) || took != c.want {
					t.Errorf("Device() = %v after %s, want %v after %s", err, took, ErrCodeExpired, c.want)
				}
			})
		})
	}
}

func TestDeviceRefused(t *testing.T) {
	for name, c := range map[string]struct {
		code string
		want error
	}{
		"no code":             {"{}", ErrNotControlPlane},
		"a page":              {"<html>", ErrNotControlPlane},
		"a page elsewhere":    {strings.Replace(codeAnswer, accessText+`/device",`, `https://evil.example.com/device",`, 1), ErrForeignEndpoint},
		"the other elsewhere": {strings.Replace(codeAnswer, accessText+`/device?`, `javascript:alert?`, 1), ErrForeignEndpoint},
	} {
		d := newDeployment(t)
		d.device(c.code)
		if _, err := d.discover(d.options()).Device(t.Context(), func(DeviceCode) { t.Errorf("%s: shown", name) }); !errors.Is(err, c.want) {
			t.Errorf("%s: Device() = %v, want %v", name, err, c.want)
		}
	}
}

func TestDeviceCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDeployment(t)
		d.device(codeAnswer)
		ctx, cancel := context.WithTimeout(t.Context(), 7*time.Second)
		defer cancel()
		_, err := d.discover(d.options()).Device(ctx, func(DeviceCode) {})
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrCodeExpired) || len(d.polls) != 1 {
			t.Errorf("Device() = %v after %d polls", err, len(d.polls))
		}
	})
}

// The library sends the first request without a context.
func TestDeviceCancelledAtFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, start := newDeployment(t), time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		d.mux.HandleFunc("POST /base/oauth2/device", func(_ http.ResponseWriter, r *http.Request) {
			cancel()
			<-r.Context().Done()
		})
		if _, err := d.discover(d.options()).Device(ctx, nil); !errors.Is(err, context.Canceled) || time.Since(start) != 0 {
			t.Errorf("Device() = %v after %s, want %v at once", err, time.Since(start), context.Canceled)
		}
	})
}

func TestRevoke(t *testing.T) {
	d := newDeployment(t)
	var revoked string
	d.mux.HandleFunc("POST /base/oauth2/revoke", func(_ http.ResponseWriter, r *http.Request) { revoked = r.FormValue("token") })
	c := New(mustURL(accessText), secretToken, d.options().Options)
	if err := c.Revoke(t.Context()); err != nil || revoked != secretToken {
		t.Errorf("Revoke() = %v, revoked %q", err, revoked)
	}
	// A deployment without the metadata has its own way.
	for status, good := range map[int]bool{200: true, 401: true, 404: false, 500: false} {
		d = newDeployment(t)
		d.metadata, revoked = "<html>", ""
		d.mux.HandleFunc("POST /base/api/v2/users/logout", func(w http.ResponseWriter, r *http.Request) {
			revoked = r.Header.Get("Coder-Session-Token")
			w.WriteHeader(status)
		})
		c = New(mustURL(accessText), secretToken, d.options().Options)
		if err := c.Revoke(t.Context()); (err == nil) != good || revoked != secretToken {
			t.Errorf("Revoke() answered with %d = %v, revoked %q", status, err, revoked)
		} else if err != nil && strings.Contains(err.Error(), secretToken) {
			t.Errorf("the error shows the token: %v", err)
		}
	}
}
