package netcfg

import "context"

// Flusher is an OS that can empty the system's cache of names. One whose names
// nobody keeps for it has nothing to do.
type Flusher interface {
	FlushNames(ctx context.Context) error
}
