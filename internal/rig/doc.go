// Package rig runs a whole Causeway (server, agent, daemon, command line, each
// the real program) on a testnet topology. The demo, the end-to-end tests and
// the benchmarks stand on it.
package rig
