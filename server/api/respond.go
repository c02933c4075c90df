package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/causewayhq/causeway/server/store"
)

// bodyLimit bounds a request's JSON; the largest real one has under 1 KiB.
const bodyLimit = 64 << 10

// Validation names a field of a request that was refused.
type Validation struct {
	Field  string `json:"field"`
	Detail string `json:"detail"`
}

// RejectionError is the body of every error (docs of the protocol, 1.7).
type RejectionError struct {
	Message     string       `json:"message"`
	Detail      string       `json:"detail,omitempty"`
	Validations []Validation `json:"validations,omitempty"`

	status int
	retry  time.Duration // when to come back, if not zero
}

func (r *RejectionError) Error() string {
	if r.Detail == "" {
		return r.Message
	}
	return r.Message + " " + r.Detail
}

func reject(status int, message, detail string) *RejectionError {
	return &RejectionError{status: status, Message: message, Detail: detail}
}

func rejectField(status int, message, field, detail string) *RejectionError {
	return &RejectionError{status: status, Message: message, Validations: []Validation{{field, detail}}}
}

// notFound is the one answer for what does not exist and for what belongs to
// somebody else.
func notFound() *RejectionError {
	return reject(http.StatusNotFound, "Resource not found or you do not have access to this resource", "")
}

// databaseUnreachable is the message that clients take as transient.
const databaseUnreachable = "database not reachable"

// handlerFunc answers with a status and a body to encode; a nil body sends
// none. An error that is not a *RejectionError is translated by rejectionOf.
type handlerFunc func(r *http.Request) (status int, body any, err error)

func (s *Server) handle(handler handlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, bodyLimit)
		status, body, err := handler(r)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		writeJSON(w, status, body)
	}
}

func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	rejection := rejectionOf(err)
	if rejection.status >= http.StatusInternalServerError && r.Context().Err() == nil {
		s.config.Logger.Error("request failed", slog.String("path", r.URL.Path), slog.Any("error", err))
	}
	if rejection.retry > 0 {
		// Whole seconds, rounded up: clients add some disorder of their own.
		seconds := (rejection.retry + time.Second - 1) / time.Second
		w.Header().Set("Retry-After", strconv.FormatInt(int64(seconds), 10))
	}
	writeJSON(w, rejection.status, rejection)
}

// rejectionOf keeps what the store says about a user's own input, and nothing
// about the inside of the server.
func rejectionOf(err error) *RejectionError {
	var rejection *RejectionError
	var name *store.NameError
	var password *store.PasswordError
	switch {
	case errors.As(err, &rejection):
		return rejection
	case errors.As(err, &name):
		result := rejectField(http.StatusBadRequest, "The name is not valid.", "name", name.Problem)
		result.Detail = name.Error()
		return result
	case errors.As(err, &password):
		result := rejectField(http.StatusBadRequest, "The password is not valid.", "password", password.Problem)
		result.Detail = password.Error()
		return result
	case errors.Is(err, store.ErrExists):
		return rejectField(http.StatusConflict, "The name is taken.", "name", err.Error())
	case errors.Is(err, store.ErrNotFound):
		return notFound()
	}
	return reject(http.StatusInternalServerError, databaseUnreachable, "The server could not read or write its database. Its log has the cause.")
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	if body == nil {
		w.WriteHeader(status)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	// A failure here is the connection's, and there is nobody left to tell.
	_ = json.NewEncoder(w).Encode(body)
}

// readJSON reads exactly one JSON object with known fields only.
func readJSON(r *http.Request, into any) error {
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	err := decoder.Decode(into)
	if err == nil {
		if _, trailing := decoder.Token(); !errors.Is(trailing, io.EOF) {
			err = errors.New("there is more than one value")
		}
	}
	var tooLarge *http.MaxBytesError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &tooLarge):
		return reject(http.StatusRequestEntityTooLarge, "Request body is too large.", fmt.Sprintf("The limit is %d bytes.", tooLarge.Limit))
	case errors.Is(err, io.EOF):
		return reject(http.StatusBadRequest, "Request body must be valid JSON.", "It is empty.")
	}
	return reject(http.StatusBadRequest, "Request body must be valid JSON.", strings.TrimPrefix(err.Error(), "json: "))
}
