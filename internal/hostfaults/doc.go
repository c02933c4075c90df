// Package hostfaults holds the rig of what other programs, updates and crashes
// do to the machine of the user: the daemon runs as the systemd unit that is
// shipped, on real systemd hosts of each kind, under a steady load of lookups
// and an SSH session. Each fault is a row of a table (faults_linux_test.go): it
// costs what is printed, and no more than its row allows. The same lookups of
// public names, which need nothing of ours, run beside them for comparison.
//
// CAUSEWAY_RIGS=sample runs the faults of the daemon on one host;
// CAUSEWAY_RIGS=all every fault on every host that it is made for.
package hostfaults
