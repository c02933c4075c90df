// Package continuity holds the rig of the first promise: names never go dark,
// sessions survive. A steady load (lookups through the operating system's
// resolver, TCP flows, an OpenSSH session) runs on a real systemd host while
// one thing after the other is taken away and given back; each costs what is
// printed, and no more than a bound that was computed beforehand.
//
// CAUSEWAY_RIGS=sample runs the short form that `make test` shows;
// CAUSEWAY_RIGS=all everything (`make continuity`). CAUSEWAY_BLACKHOLE is how
// long the long blackhole lasts (`make blackhole`: 20m; else 2m).
package continuity
