package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

// retryWatch is how long a watch waits before it asks a daemon again that has
// gone away, for example to be upgraded.
const retryWatch = time.Second

// watch shows the status until the user interrupts, which is its normal end.
func (a *app) watch(ctx context.Context, flags statusFlags) error {
	if tty, ok := a.tty(); ok && !flags.json {
		return a.watchScreen(ctx, flags, tty)
	}
	said := ""
	return a.follow(ctx, func(status *localv1.Status) error {
		said = ""
		if err := a.show(flags.filter(status), flags.json); err != nil {
			return err
		}
		if !flags.json {
			fmt.Fprintln(a.env.Stdout)
		}
		return nil
	}, func(away *localapi.Error) error {
		if away.Code != localapi.CodeNotRunning {
			return away
		}
		if said != away.Cause {
			said = away.Cause
			a.complain(away.Cause, away.Remedy)
		}
		return nil
	})
}

// follow tells each status, and that the daemon is away, until the context ends,
// which is no error, or one of the two functions fails.
func (a *app) follow(ctx context.Context, show func(*localv1.Status) error, away func(*localapi.Error) error) error {
	for {
		err := a.followOne(ctx, show)
		if ctx.Err() != nil {
			return nil
		}
		var known *localapi.Error
		if !errors.As(err, &known) || known.Code != localapi.CodeNotRunning && known.Code != localapi.CodeTimeout {
			return err
		}
		if err := away(known); err != nil {
			return err
		}
		if !pause(ctx, retryWatch) {
			return nil
		}
	}
}

// followOne follows one daemon, for as long as it is there.
func (a *app) followOne(ctx context.Context, show func(*localv1.Status) error) error {
	client, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	next, stop, err := a.watchStatus(ctx, client)
	if err != nil {
		return err
	}
	defer stop()
	for {
		status, err := next()
		if err != nil {
			return err
		}
		if err := show(status); err != nil {
			return err
		}
	}
}

// pause waits, and says false if the context ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
