package platform

import (
	"context"
	"errors"
	"log/slog"
)

// The programs that empty the caches of names: that of the directory service,
// and that of mDNSResponder, which reads its configuration again as well.
var flushCommands = [][]string{
	{"/usr/bin/dscacheutil", "-flushcache"},
	{"/usr/bin/killall", "-HUP", "mDNSResponder"},
}

// flush empties the system's caches after a change: an answer of before, that
// there is no such name, would be believed for up to the zone's own time. A
// failure is logged and tried again with the next Apply or audit; it is no
// failure of Apply, for the system picks the files up without it.
func (o *OS) flush(ctx context.Context) {
	if !o.flushDue {
		return
	}
	if err := o.emptyCaches(ctx); err != nil {
		o.log.Warn("cannot flush the system's caches of names", slog.String("error", err.Error()))
		return
	}
	o.flushDue = false
}

// FlushNames empties the caches because somebody asked for it.
func (o *OS) FlushNames(ctx context.Context) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.emptyCaches(ctx)
}

func (o *OS) emptyCaches(ctx context.Context) error {
	var errs []error
	for _, command := range flushCommands {
		errs = append(errs, o.run(ctx, command[0], command[1:]...))
	}
	return errors.Join(errs...)
}
