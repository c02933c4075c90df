// Package system installs the daemon as a service of the operating system, and
// starts, stops and watches it there: systemd, launchd, or the service manager
// of Windows.
//
// A backend says what has to be done, as steps; only the steps touch the
// machine, so that a dry run shows exactly what a real one does. Whether
// something is done already is read from the system each time: every command
// may be given twice.
package system
