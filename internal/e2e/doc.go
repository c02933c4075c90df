// Package e2e holds the tests of the whole: real programs, real networks, a
// real systemd. They are rigs: CAUSEWAY_RIGS=sample runs those that `make test`
// shows, CAUSEWAY_RIGS=all runs every one (`make e2e`).
package e2e
