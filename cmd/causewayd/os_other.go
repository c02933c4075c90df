//go:build !linux && !darwin && !windows

package main

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"

	"github.com/causewayhq/causeway/netcfg"
	"github.com/causewayhq/causeway/service"
)

var errPlatform = errors.New("this version configures the network of Linux, macOS and Windows only")

func newOS(string, *slog.Logger) (netcfg.OS, error) { return nil, privileged(toRun) }

// privileged refuses before anything is touched.
func privileged(forWhat purpose) error {
	return &service.Error{
		Failure: service.FailurePlatform, Remedy: "use a Linux machine or virtual machine",
		Err: fmt.Errorf("%s on %s: %w", forWhat.doing, runtime.GOOS, errPlatform),
	}
}
