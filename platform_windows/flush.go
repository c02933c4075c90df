package platform

import "context"

// FlushNames empties the cache of the DNS client.
func (o *OS) FlushNames(ctx context.Context) error { return o.rules.Flush(ctx) }
