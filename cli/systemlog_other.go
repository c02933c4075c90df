//go:build !linux && !darwin && !windows

package cli

// systemLog is where the system keeps the daemon's log.
const systemLog = "the daemon's standard error"
