//go:build !linux && !darwin && !windows

package service

const (
	runAsAdmin  = "run as administrator: "
	asAdmin     = "as administrator: "
	stopService = "end its process"
	daemonLog   = "its standard error"
	moveState   = "move it away and sign in again: %s to %s.bad"
)
