package system

import (
	"fmt"
	"strings"
)

// State is what the service manager says of the daemon.
type State string

// The states, as `causewayd status --json` prints them.
const (
	NotInstalled State = "not-installed"
	Stopped      State = "stopped"
	Starting     State = "starting"
	Running      State = "running"
	Stopping     State = "stopping"
	// Failed: it ended with an error; most managers are about to start it again.
	Failed State = "failed"
)

// Status is the service as its manager has it.
type Status struct {
	Manager    string // systemd, launchd, windows
	State      State
	AtBoot     bool   // it is started with the machine
	PID        int    // 0: no process
	ExitCode   int    // of a daemon that Failed; one of service.Failures
	Definition string // the file that defines it, if files do
	Detail     string // what the manager says beyond that; may be empty
}

// Installed says that the manager knows the service.
func (s Status) Installed() bool { return s.State != NotInstalled }

// Line is the status in one line.
func (s Status) Line() string {
	parts := []string{string(s.State)}
	if s.PID != 0 {
		parts = append(parts, fmt.Sprintf("process %d", s.PID))
	}
	if s.ExitCode != 0 {
		parts = append(parts, fmt.Sprintf("exit code %d", s.ExitCode))
	}
	if s.Detail != "" {
		parts = append(parts, s.Detail)
	}
	if s.Installed() {
		boot := "does not start with the machine"
		if s.AtBoot {
			boot = "starts with the machine"
		}
		parts = append(parts, boot)
	}
	return strings.Join(parts, ", ")
}
