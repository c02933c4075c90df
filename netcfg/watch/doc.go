// Package watch holds what all platforms do with what they notice: gather it,
// tell the tunnel of changes of the network and of wakes, and put the host's
// configuration back at a limited rate.
package watch
