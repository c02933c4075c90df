package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// What can be wrong besides a rejection.
var (
	// ErrSignedOut is matched by a rejection of the token.
	ErrSignedOut = errors.New("signed out")
	// ErrCertificate is wrapped when TLS does not verify.
	ErrCertificate = errors.New("certificate of the control plane does not verify")
	// ErrNotControlPlane is wrapped when something else answers at the URL.
	ErrNotControlPlane = errors.New("answer is not from a control plane")
)

// Error is a rejection by the control plane.
type Error struct {
	URL     string
	Status  int
	Message string
	Detail  string
}

func (e *Error) Error() string {
	text := fmt.Sprintf("get %s: HTTP %d: %s", e.URL, e.Status, e.Message)
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	return text
}

// Is makes a refused token match ErrSignedOut.
func (e *Error) Is(target error) bool {
	return target == ErrSignedOut && e.Status == http.StatusUnauthorized
}

func rejection(target string, status int, body []byte) error {
	var form struct {
		Message string `json:"message"`
		Detail  string `json:"detail"`
	}
	if json.Unmarshal(body, &form) != nil || form.Message == "" {
		form.Message, form.Detail = http.StatusText(status), ""
	}
	return &Error{URL: target, Status: status, Message: form.Message, Detail: form.Detail}
}
