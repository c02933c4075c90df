package nrpt

import "context"

// Flush empties the system's cache of names, which is done by itself after
// each change of the rules.
func (r *Rules) Flush(ctx context.Context) error { return r.flush.run(ctx, r.system.FlushCache) }
