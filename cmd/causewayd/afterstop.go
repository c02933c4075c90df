package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// afterStopFlag of the cleanup is for the unit's ExecStopPost=, which systemd
// also runs after a crash and at a restart: then everything has to stay.
const afterStopFlag = "after-stop"

// jobTimeout bounds the question to systemd.
const jobTimeout = 5 * time.Second

// systemctls is where systemctl may be.
var systemctls = []string{"/usr/bin/systemctl", "/bin/systemctl"}

// stopsForGood asks systemd whether the unit is being stopped by somebody, or
// with the machine, and not only to be started again.
func stopsForGood(ctx context.Context, unit string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, jobTimeout)
	defer cancel()
	for _, path := range systemctls {
		if _, err := os.Stat(path); err != nil {
			continue
		}
		var complaint strings.Builder
		command := exec.CommandContext(ctx, path, "list-jobs", "--no-legend", "--no-pager", "--full", "--", unit)
		command.Stderr = &complaint
		output, err := command.Output()
		if err != nil {
			return false, fmt.Errorf("ask systemd for jobs of %s: %w: %s", unit, err, strings.TrimSpace(complaint.String()))
		}
		return stopJob(string(output), unit), nil
	}
	return false, fmt.Errorf("ask systemd for jobs of %s: %w", unit, errNoSystemctl)
}

var errNoSystemctl = errors.New("there is no systemctl")

// stopJob reads lines of "NUMBER UNIT TYPE STATE". A restart is a job of its own
// type until its stopping half is done.
func stopJob(jobs, unit string) bool {
	for line := range strings.Lines(jobs) {
		fields := strings.Fields(line)
		for at, field := range fields {
			if field == unit && at+1 < len(fields) {
				return fields[at+1] == "stop"
			}
		}
	}
	return false
}
