package main

import (
	"fmt"
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
func privileged(forWhat purpose) error {
	if os.Geteuid() == 0 {
		return nil
	}
	return &service.Error{
		Failure: service.FailurePrivilege, Remedy: "run: sudo causewayd " + forWhat.command,
		Err: fmt.Errorf("%s: it needs root, to %s", forWhat.doing, forWhat.means),
	}
}
