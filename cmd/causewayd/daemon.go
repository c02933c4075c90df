package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"

	"github.com/causewayhq/causeway/config"
	"github.com/causewayhq/causeway/service"
	"github.com/causewayhq/causeway/tunnel"
)

// logOutput takes the daemon's log: standard error, which service managers
// keep, or a file where they do not.
var logOutput io.Writer = os.Stderr

// runDaemon runs the daemon until the context ends, and leaves stacks behind if
// it crashes or hangs.
func runDaemon(ctx context.Context, values config.Values, mode serviceMode) error {
	options, err := values.Daemon()
	if err != nil {
		return err
	}
	if err := privileged(toRun); err != nil {
		return err
	}
	crash, err := service.KeepCrash(options.StateDir)
	if err != nil {
		return err
	}
	defer crash.Close()
	if crash.Earlier != "" {
		newLogger(options).Warn("the last daemon crashed or was ended as hung", slog.String("stacks", crash.Earlier))
	}
	stop := service.GuardShutdown(ctx, io.MultiWriter(logOutput, crash), os.Exit)
	defer stop()
	defer dumpStacks(logOutput)()
	err = newService(values, options, mode).Run(ctx)
	if err == nil && errors.Is(context.Cause(ctx), tunnel.ErrHandover) && stoppedForGood(ctx) {
		// It was handed over, and then nobody was to take it.
		return cleanUp(context.WithoutCancel(ctx), options)
	}
	return err
}

// serviceMode is how the operating system's service manager runs the daemon, if
// that differs from running it in the foreground.
type serviceMode struct {
	// managed: an exit would only be answered by another start. A machine that
	// cannot have a tunnel gets a daemon that says so.
	managed bool
	// ready is told that the local API answers; nil: nobody asks.
	ready func()
}
