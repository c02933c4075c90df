//go:build !linux && !darwin && !windows

package system

const (
	asRoot        = ""
	seeLog        = "see the daemon's log"
	refusedRemedy = ""
)
