//go:build !linux

package cli

import "syscall"

// leaveBy does nothing here: the routes decide.
func leaveBy(string) func(network, address string, raw syscall.RawConn) error { return nil }
