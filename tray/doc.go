// Package tray shows the state of the tunnel in the notification area and lets
// the user operate it there.
//
// What is shown is a pure function of what the daemon said (model.go). The
// program (app.go) computes it anew after each event and hands the differences
// to a backend, which changes items in place: an open menu stays open.
// Everything that belongs to a desktop (notifications, clipboard, terminals,
// autostart, one instance for each session) stands in files by operating system.
package tray
