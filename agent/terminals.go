package agent

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/agent/httpapi"
	"github.com/causewayhq/causeway/agent/rpty"
	"github.com/causewayhq/causeway/agent/terminal"
)

// terminalPort is that of reconnecting terminals (docs of the protocol, 5.1).
const terminalPort = 2

// terminalsEnd is how long terminals have for their orderly end.
const terminalsEnd = 1500 * time.Millisecond

// terminalType is what programs are told of their terminal (5.2).
const terminalType = "TERM=xterm-256color"

// newTerminals makes the server of port 2.
func (a *agent) newTerminals() *rpty.Server {
	return rpty.New(rpty.Config{
		Logger: a.log, Idle: a.config.TerminalIdle, Start: a.startTerminal, Opened: a.reports.connections.Open,
	})
}

// startTerminal runs a command on a terminal, in the workspace's environment.
func (a *agent) startTerminal(command string, columns, rows int) (rpty.Program, error) {
	cmd, cleanup, err := a.login().Command(command)
	if err != nil {
		return nil, err
	}
	cmd.Env = append(cmd.Env, terminalType)
	started, err := terminal.Start(cmd, terminalSize(columns, rows))
	if err != nil {
		cleanup()
		return nil, err
	}
	a.work.Go(func() {
		<-started.Done()
		cleanup()
	})
	return terminalProgram{started}, nil
}

func terminalSize(columns, rows int) terminal.Size {
	return terminal.Size{Columns: uint16(columns), Rows: uint16(rows)} // far below its limits
}

// terminalProgram is a terminal as package rpty wants it.
type terminalProgram struct{ *terminal.Terminal }

func (p terminalProgram) Resize(columns, rows int) error {
	return p.Terminal.Resize(terminalSize(columns, rows))
}

// listenTerminals serves port 2 of a network; the terminals outlive it.
func (a *agent) listenTerminals(created network) error {
	listener, err := created.Listen(terminalPort)
	if err != nil {
		return fmt.Errorf("listen on port %d of the tailnet: %w", terminalPort, err)
	}
	a.work.Go(func() {
		// The listener ends with its network, which is no news.
		if err := a.terminals.Serve(listener); err != nil {
			a.log.Debug("terminal listener ended", slog.String("error", err.Error()))
		}
	})
	return nil
}

// endTerminals ends every terminal with its programs.
func (a *agent) endTerminals() {
	ctx, cancel := context.WithTimeout(context.Background(), terminalsEnd)
	defer cancel()
	if err := a.terminals.Shutdown(ctx); err != nil {
		a.log.Warn("terminals did not end in time", slog.String("error", err.Error()))
	}
}

// shownTerminals are the terminals as the HTTP API shows them.
type shownTerminals struct{ *rpty.Server }

// List describes them.
func (t shownTerminals) List() []httpapi.Terminal {
	var result []httpapi.Terminal
	for _, each := range t.Server.List() {
		shown := httpapi.Terminal{
			ID: each.ID, Command: each.Command, Started: each.Started, Viewers: each.Viewers,
			Columns: uint16(each.Columns), Rows: uint16(each.Rows), Title: each.Title,
		}
		if !each.IdleSince.IsZero() {
			shown.IdleSince = &each.IdleSince
		}
		result = append(result, shown)
	}
	return result
}

// Kill ends one with its programs.
func (t shownTerminals) Kill(id uuid.UUID) error { return t.Server.Kill(id) }
