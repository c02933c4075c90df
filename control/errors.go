package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"storj.io/drpc/drpcerr"
)

// ErrSignedOut is matched by errors that mean that the token is no longer
// good: the user has to sign in again.
var ErrSignedOut = errors.New("signed out")

// ErrDatabase is matched by the answer of a control plane that does not reach
// its own database: nobody here can mend that, and it passes.
var ErrDatabase = errors.New("database not reachable")

// bodyLimit bounds what is read of a rejection.
const bodyLimit = 64 << 10

// Validation names one parameter that the control plane refused.
type Validation struct {
	Field  string `json:"field"`
	Detail string `json:"detail"`
}

// DialError is a rejection by the control plane before the upgrade.
type DialError struct {
	URL         string       `json:"-"`
	Status      int          `json:"-"`
	Message     string       `json:"message"`
	Detail      string       `json:"detail"`
	Validations []Validation `json:"validations"`

	hint time.Duration // when to come back; zero: not said
}

func rejection(target string, response *http.Response, body []byte) error {
	result := &DialError{URL: target, Status: response.StatusCode}
	if response.StatusCode == http.StatusServiceUnavailable {
		result.hint = retryAfter(response.Header)
	}
	if json.Unmarshal(body, result) != nil || result.Message == "" {
		result.Message = http.StatusText(response.StatusCode)
	}
	return result
}

func (e *DialError) Error() string {
	text := e.Message
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	for _, v := range e.Validations {
		text += fmt.Sprintf(" (%s: %s)", v.Field, v.Detail)
		if len(text) > toldLimit {
			break
		}
	}
	text = fmt.Sprintf("dial %s: HTTP %d: %s", e.URL, e.Status, printable(text))
	if e.has("version") {
		text += "; the releases of this client and of the control plane must match"
	}
	return text
}

// Is makes a refused session token match ErrSignedOut, but not a refused resume
// token, as the next dial goes without it; and a lost database ErrDatabase.
func (e *DialError) Is(target error) bool {
	switch target {
	case ErrSignedOut:
		return e.Status == http.StatusUnauthorized && !e.has("resume_token")
	case ErrDatabase:
		return e.Status == http.StatusInternalServerError && strings.Contains(strings.ToLower(e.Message), "database")
	default:
		return false
	}
}

func (e *DialError) has(field string) bool {
	for _, v := range e.Validations {
		if v.Field == field {
			return true
		}
	}
	return false
}

// Unimplemented says whether a server does not know a call, in either of the
// two forms in which servers say so (docs of the protocol, 1.3).
func Unimplemented(err error) bool {
	return err != nil && (drpcerr.Code(err) == drpcerr.Unimplemented || strings.Contains(err.Error(), "unknown rpc: "))
}
