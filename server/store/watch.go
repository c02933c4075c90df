package store

import (
	"context"
	"fmt"
	"time"
)

// Watch calls changed soon after any other connection has committed a change,
// whichever process it belongs to: the subcommands write to the file of a
// running server. It looks each interval, which costs one read of shared
// memory, and returns the context's error or the database's. Changes between
// two looks are one call. What agents report is no change, as long as it is this
// Store that writes it.
func (s *Store) Watch(ctx context.Context, interval time.Duration, changed func()) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	var last int64
	for first := true; ; first = false {
		var version int64
		// The counter is per connection, and does not count what that one writes.
		if err := s.reports.QueryRowContext(ctx, "PRAGMA data_version").Scan(&version); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("watch database %s: %w", s.path, storageCause(err))
		}
		if !first && version != last {
			changed()
		}
		last = version
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}
