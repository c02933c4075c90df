package tunnel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/causewayhq/causeway/netcfg"
)

// leaveTimeout bounds the last one, so that the process ends by itself before a
// service manager ends it (15 s in our unit for systemd).
const leaveTimeout = 8 * time.Second

// leave takes away what was put on the host, also by an earlier process, and
// says with ErrHost what is left. When the next process takes over it leaves
// everything as it is.
func (t *Tunnel) leave(ctx context.Context, clean func(context.Context) error) error {
	if handedOver(ctx) {
		t.log.Info("host is left as it is for the next process")
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
	defer cancel()
	if err := clean(ctx); err != nil {
		t.log.Error("host not fully put back", slog.String("error", err.Error()))
		return fmt.Errorf("%w: %w", ErrHost, err)
	}
	return nil
}

// end leaves the host as the end of Run demands: with nothing of ours if
// nobody wants the tunnel any more, else with the names for the next one.
func (t *Tunnel) end(ctx context.Context, left bool, err error) error {
	if ctx.Err() == nil {
		err = errors.Join(err, t.keepNames(ctx))
	}
	if ctx.Err() != nil && !left {
		err = errors.Join(err, t.leave(ctx, t.config.OS.Cleanup))
	}
	if ctx.Err() != nil && !errors.Is(err, ErrHost) {
		return nil
	}
	return err
}

// keepNames leaves on the host what is right also while no data plane runs: all
// known names, in the hosts file. A name server that nobody answers for would
// hold up the lookups of other names. Where none are known, what an earlier
// process left is not ours to vouch for.
func (t *Tunnel) keepNames(ctx context.Context) error {
	t.mu.Lock()
	kept := t.saved
	t.mu.Unlock()
	if kept.Workspaces == nil || kept.Suffix == "" {
		return t.leave(ctx, t.config.OS.Cleanup)
	}
	ctx, cancel := context.WithTimeout(ctx, hostTimeout)
	defer cancel()
	names := newBook(kept.Workspaces, kept.User.Username, kept.Suffix)
	want := netcfg.Config{DNS: netcfg.DNS{Suffixes: []string{kept.Suffix}, Hosts: names.hosts}}
	if err := t.config.OS.Apply(ctx, want); err != nil {
		t.log.Error("names not kept on the host", slog.String("error", err.Error()))
	}
	return nil // the error of Run says more
}

// empty takes away what this process put on the host, and then whatever else is
// ours.
func (t *Tunnel) empty(ctx context.Context) error {
	return errors.Join(t.config.OS.Apply(ctx, netcfg.Config{}), t.config.OS.Cleanup(ctx))
}

func handedOver(ctx context.Context) bool { return errors.Is(context.Cause(ctx), ErrHandover) }
