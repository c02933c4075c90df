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

// empty takes away what this process put on the host, and then whatever else is
// ours.
func (t *Tunnel) empty(ctx context.Context) error {
	return errors.Join(t.config.OS.Apply(ctx, netcfg.Config{}), t.config.OS.Cleanup(ctx))
}

func handedOver(ctx context.Context) bool { return errors.Is(context.Cause(ctx), ErrHandover) }
