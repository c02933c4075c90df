// Package wiremtu says which size upstream's probes for a direct path have. It
// has to be linked in wherever tailscale.com/wgengine/magicsock is.
//
// Upstream's path MTU discovery sends one probe of each size in a list, the
// smallest of which fits into paths that are too small for our packets, and
// takes the first path that answers. With one size in the list, a path that
// cannot carry a full packet never answers, so it is never chosen.
//
// Magicsock reads the list when it is initialised. Go initialises, of all
// packages whose imports are ready, the one whose path sorts first (language
// specification, "Program initialization"): with tstun done, that is this
// package, not tailscale.com/wgengine/magicsock. TestPathsAreProbedInFullSize
// of tailnet would notice if it were not so.
package wiremtu

import "tailscale.com/net/tstun"

// Full is the least that an outer path must carry, in bytes with all headers:
// 1280 inside, and 80 for WireGuard over IPv6. Over IPv4 20 less would do.
const Full = 1360

func init() { tstun.WireMTUsToProbe = []tstun.WireMTU{Full} }
