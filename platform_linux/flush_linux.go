package platform

import (
	"context"
	"errors"
)

// FlushNames empties the cache of systemd-resolved, the one that splits names
// for us. Where it does not run for this host nobody keeps names that we know.
func (o *OS) FlushNames(ctx context.Context) error {
	if err := o.resolved.ping(ctx, false); errors.Is(err, errAbsent) || errors.Is(err, errElsewhere) {
		return nil
	} else if err != nil {
		return err
	}
	return o.resolved.flush(ctx)
}
