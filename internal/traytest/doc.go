// Package traytest runs causeway-tray as a program: without a display against a
// session bus of its own, a host of status icons and a daemon that remember what
// they were told (always, if dbus-daemon is installed), and on a real panel under
// Xvfb with a real causewayd (CAUSEWAY_RIGS=all, as root).
//
// The rig installs what it needs with apt if it is missing, and writes the
// screenshots of docs/screenshots if CAUSEWAY_SCREENSHOTS names a directory.
package traytest
