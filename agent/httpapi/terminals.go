package httpapi

import (
	"errors"
	"io/fs"
	"net/http"
	"time"

	"github.com/google/uuid"
)

// Terminal is one that can be attached to again.
type Terminal struct {
	ID      uuid.UUID `json:"id"`
	Command string    `json:"command"` // "": a shell
	Started time.Time `json:"started_at"`
	// Viewers are attached now; without one the terminal ends after IdleSince and
	// the agent's limit.
	Viewers   int        `json:"viewers"`
	IdleSince *time.Time `json:"idle_since"`
	Columns   uint16     `json:"columns"`
	Rows      uint16     `json:"rows"`
	// Title is what the program calls itself, if it does.
	Title string `json:"title"`
}

// Terminals are those of port 2.
type Terminals interface {
	List() []Terminal
	// Kill ends one with its programs; fs.ErrNotExist says that there is none.
	Kill(id uuid.UUID) error
}

func (s *Server) listTerminals(w http.ResponseWriter, _ *http.Request) {
	answer := struct {
		Version   int        `json:"version"`
		Terminals []Terminal `json:"terminals"`
	}{Version: 1, Terminals: []Terminal{}}
	if s.config.Terminals != nil {
		answer.Terminals = append(answer.Terminals, s.config.Terminals.List()...)
	}
	write(w, http.StatusOK, answer)
}

func (s *Server) killTerminal(w http.ResponseWriter, r *http.Request) {
	id, err := uuid.Parse(r.PathValue("id"))
	if err != nil {
		fail(w, http.StatusBadRequest, "The id of the terminal is not a UUID.", nil)
		return
	}
	err = fs.ErrNotExist
	if s.config.Terminals != nil {
		err = s.config.Terminals.Kill(id)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		fail(w, http.StatusNotFound, "There is no terminal of this id.", nil)
	case err != nil:
		fail(w, http.StatusInternalServerError, "The terminal does not end.", err)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}
