package signin

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"time"
	"unicode/utf8"
)

// oauthError is an error of RFC 6749, 5.2 or RFC 8628, 3.5.
type oauthError struct {
	Code        string `json:"error"`
	Description string `json:"error_description"`

	status int
	retry  time.Duration
}

func (e *oauthError) Error() string { return e.Code + ": " + e.Description }

func refuse(code, description string) *oauthError {
	return &oauthError{Code: code, Description: description, status: http.StatusBadRequest}
}

// missingField is also for a field without a value, which counts as none (RFC
// 6749, 3.2).
func missingField(name string) *oauthError {
	return refuse("invalid_request", "The field "+name+" is missing.")
}

func busy(status int, description string, retry time.Duration) *oauthError {
	return &oauthError{Code: "temporarily_unavailable", Description: description, status: status, retry: retry}
}

var (
	errPending     = refuse("authorization_pending", "The user has not answered yet.")
	errSlowDown    = refuse("slow_down", "Wait 5 seconds longer between two requests.")
	errDenied      = refuse("access_denied", "The user has refused. If that was a mistake, sign in again.")
	errExpired     = refuse("expired_token", "The code has expired. Sign in again.")
	errDeviceCode  = refuse("invalid_grant", "The device code is not known: it was used, or the server was started anew. Sign in again.")
	errAuthCode    = refuse("invalid_grant", "The code is not known, was used or has expired. Sign in again.")
	errMismatch    = refuse("invalid_grant", "The code was issued for another request. Sign in again.")
	errUserGone    = refuse("invalid_grant", "The user is gone, or has changed the password since. Sign in again.")
	errClient      = refuse("invalid_client", "The only client_id is "+clientID+".")
	errGrantType   = refuse("unsupported_grant_type", "Use authorization_code or "+grantDevice+".")
	errAgentToken  = refuse("unsupported_token_type", "This is an agent's token. Its owner deletes the agent, or makes a new token.")
	errTooManyHere = busy(http.StatusTooManyRequests,
		"Too many sign-ins from this address wait for an answer. Try again in a minute.", time.Minute)
	errTooMany = busy(http.StatusServiceUnavailable, "Too many sign-ins wait for an answer. Try again in a minute.", time.Minute)
	errStore   = busy(http.StatusServiceUnavailable, "The server could not read or write its database. Try again in a moment.", 5*time.Second)
)

const (
	// clientID is the one public client: whoever asks has no secret to keep.
	clientID    = "causeway"
	grantCode   = "authorization_code"
	grantDevice = "urn:ietf:params:oauth:grant-type:device_code"
)

// formLimit bounds a form; the largest real one is a consent of under 3 KiB.
const formLimit = 16 << 10

// fieldLimit bounds each field of a form.
const fieldLimit = 4 << 10

// readForm reads a form from the body, and nothing from the address: what is
// secret must not end in logs. RFC 6749, 3.2 forbids a field twice.
func readForm(r *http.Request) (url.Values, error) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" {
		return nil, errors.New("want a body of application/x-www-form-urlencoded")
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, formLimit))
	if err != nil {
		return nil, errors.New("the body cannot be read, or is longer than 16 KiB")
	}
	return parseFields(string(body))
}

// parseFields reads a query or a form of fields that stand once each.
func parseFields(text string) (url.Values, error) {
	if len(text) > formLimit {
		return nil, errors.New("it is longer than 16 KiB")
	}
	form, err := url.ParseQuery(text)
	if err != nil {
		return nil, errors.New("the fields are not well escaped")
	}
	for name, values := range form {
		switch {
		case len(values) != 1:
			return nil, errors.New("a field stands twice")
		case len(values[0]) > fieldLimit || len(name) > fieldLimit:
			return nil, errors.New("a field is longer than 4 KiB")
		case !utf8.ValidString(values[0]):
			return nil, errors.New("a field is not UTF-8 text")
		}
	}
	return form, nil
}

// endpoint is an OAuth endpoint: a form in, JSON out.
func (s *Server) endpoint(handler func(r *http.Request, form url.Values) (any, *oauthError)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		form, err := readForm(r)
		if err != nil {
			writeOAuth(w, nil, refuse("invalid_request", "The request cannot be read: "+err.Error()+"."))
			return
		}
		body, problem := handler(r, form)
		writeOAuth(w, body, problem)
	}
}

func writeOAuth(w http.ResponseWriter, body any, problem *oauthError) {
	head := w.Header()
	head.Set("Content-Type", "application/json; charset=utf-8")
	head.Set("Cache-Control", "no-store")
	head.Set("X-Content-Type-Options", "nosniff")
	status := http.StatusOK
	if problem != nil {
		status, body = problem.status, problem
		if problem.retry > 0 {
			head.Set("Retry-After", seconds(problem.retry))
		}
	}
	if body == nil {
		w.WriteHeader(status)
		return
	}
	w.WriteHeader(status)
	// A failure here is the connection's, and there is nobody left to tell.
	_ = json.NewEncoder(w).Encode(body)
}

// seconds is a time for Retry-After: whole seconds, rounded up.
func seconds(wait time.Duration) string {
	return strconv.FormatInt(int64((wait+time.Second-1)/time.Second), 10)
}

// metadata is RFC 8414's description of this server.
func (s *Server) metadata(w http.ResponseWriter, _ *http.Request) {
	writeOAuth(w, map[string]any{
		"issuer":                                         s.config.AccessURL,
		"authorization_endpoint":                         s.config.AccessURL + "/oauth2/authorize",
		"token_endpoint":                                 s.config.AccessURL + "/oauth2/token",
		"device_authorization_endpoint":                  s.config.AccessURL + "/oauth2/device",
		"revocation_endpoint":                            s.config.AccessURL + "/oauth2/revoke",
		"response_types_supported":                       []string{"code"},
		"response_modes_supported":                       []string{"query"},
		"grant_types_supported":                          []string{grantCode, grantDevice},
		"code_challenge_methods_supported":               []string{"S256"},
		"token_endpoint_auth_methods_supported":          []string{"none"},
		"revocation_endpoint_auth_methods_supported":     []string{"none"},
		"authorization_response_iss_parameter_supported": true,
	}, nil)
}
