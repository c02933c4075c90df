package tray

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
)

// ErrRunning means that a tray runs in this session already.
var ErrRunning = errors.New("causeway-tray runs in this session already")

// Themes are the values of Options.Theme.
var Themes = []string{"auto", "dark", "light"}

// Options are what a tray is started with.
type Options struct {
	Socket  string // of the daemon
	Version string // of this program
	CLI     string // the causeway program, for what needs a terminal
	// Theme is the panel that the icon has to stand out from: auto is any, dark
	// and light have more contrast with one.
	Theme  string
	Logger *slog.Logger
	// Say shows the user a line where they started the program.
	Say func(string)
}

// Run shows the tray until the user quits it or the context or the session
// ends. It has to be called from the main goroutine: Windows and macOS want their
// windows there.
func Run(ctx context.Context, o Options) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	surroundings, err := openDesktop(ctx, cancel, o)
	if err != nil {
		return err
	}
	defer surroundings.close()
	path, err := settingsPath()
	if err != nil {
		return err
	}
	a := &app{
		dial: dialSocket(o.Socket), desktop: surroundings, settings: path, socket: o.Socket, cli: o.CLI,
		logger: o.Logger, events: make(chan func()), in: input{version: o.Version},
	}
	a.first(ctx)
	err = show(ctx, a, surroundings, o.Theme)
	over := ctx.Err() != nil
	cancel()
	a.work.Wait()
	switch {
	case errors.Is(err, errQuit), over:
		return nil
	case err != nil:
		return fmt.Errorf("show the tray: %w", err)
	}
	return nil
}

// InstallAutostart has the tray started when the user logs in.
func InstallAutostart() error { return setAutostartEntry(true) }

// RemoveAutostart undoes InstallAutostart.
func RemoveAutostart() error { return setAutostartEntry(false) }
