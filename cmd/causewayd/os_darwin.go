package main

import (
	"errors"
	"log/slog"
	"os"

	"github.com/causewayhq/causeway/netcfg"
	platform "github.com/causewayhq/causeway/platform_darwin"
	"github.com/causewayhq/causeway/service"
)

func newOS(stateDir string, logger *slog.Logger) (netcfg.OS, error) {
	return platform.New(platform.Options{Logger: logger, StateDir: stateDir})
}

// privileged refuses a process that could not configure the network: macOS has
// nothing less than root that may make a utun interface.
func privileged() error {
	if os.Geteuid() == 0 {
		return nil
	}
	return &service.Error{
		Failure: service.FailurePrivilege, Remedy: "run: sudo causewayd run",
		Err: errors.New("start daemon: it needs root, to make a network interface and set routes and name servers"),
	}
}
