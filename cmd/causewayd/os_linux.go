package main

import (
	"fmt"
	"log/slog"
	"os"

	"golang.org/x/sys/unix"

	"github.com/causewayhq/causeway/netcfg"
	platform "github.com/causewayhq/causeway/platform_linux"
	"github.com/causewayhq/causeway/service"
)

func newOS(stateDir string, logger *slog.Logger) (netcfg.OS, error) {
	return platform.New(platform.Options{Logger: logger, StateDir: stateDir})
}

// privileged refuses a process that could not configure the network.
func privileged(forWhat purpose) error {
	if os.Geteuid() == 0 {
		return nil
	}
	// A unit may give the capability to another user.
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err == nil && data[0].Effective&(1<<unix.CAP_NET_ADMIN) != 0 {
		return nil
	}
	return &service.Error{
		Failure: service.FailurePrivilege, Remedy: "run: sudo causewayd " + forWhat.command + forWhat.orElse,
		Err: fmt.Errorf("%s: it needs root, to %s", forWhat.doing, forWhat.means),
	}
}
