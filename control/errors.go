package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"storj.io/drpc/drpcerr"
)

// ErrSignedOut is matched by errors that mean that the token is no longer
// good: the user has to sign in again.
var ErrSignedOut = errors.New("signed out")

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
}

func rejection(target string, response *http.Response) error {
	result := &DialError{URL: target, Status: response.StatusCode}
	body, _ := io.ReadAll(io.LimitReader(response.Body, bodyLimit))
	response.Body.Close()
	if json.Unmarshal(body, result) != nil || result.Message == "" {
		result.Message = http.StatusText(response.StatusCode)
	}
	return result
}

func (e *DialError) Error() string {
	var text strings.Builder
	fmt.Fprintf(&text, "dial %s: HTTP %d: %s", e.URL, e.Status, e.Message)
	if e.Detail != "" {
		text.WriteString(": " + e.Detail)
	}
	for _, v := range e.Validations {
		fmt.Fprintf(&text, " (%s: %s)", v.Field, v.Detail)
	}
	if e.has("version") {
		text.WriteString("; the releases of this client and of the control plane must match")
	}
	return text.String()
}

// Is makes a refused session token match ErrSignedOut. A refused resume token
// is another matter: the next dial goes without it.
func (e *DialError) Is(target error) bool {
	return target == ErrSignedOut && e.Status == http.StatusUnauthorized && !e.has("resume_token")
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
