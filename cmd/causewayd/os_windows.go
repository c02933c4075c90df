package main

import (
	"fmt"
	"log/slog"
	"os"

	"golang.org/x/sys/windows"

	"github.com/causewayhq/causeway/netcfg"
	platform "github.com/causewayhq/causeway/platform_windows"
	"github.com/causewayhq/causeway/service"
	"github.com/causewayhq/causeway/tun"
)

func newOS(stateDir string, logger *slog.Logger) (netcfg.OS, error) {
	opened, err := platform.New(platform.Options{
		Logger: logger, StateDir: stateDir, Adapter: tun.AdapterGUID,
		// No goodbye to anybody: rules and files stay for the next process, and
		// Windows takes the adapter away.
		Restart: func() { os.Exit(int(service.FailureResumed)) },
	})
	if err != nil {
		return nil, err
	}
	current.Store(opened)
	return opened, nil
}

// privileged refuses a process that could not configure the network.
func privileged(forWhat purpose) error {
	if windows.GetCurrentProcessToken().IsElevated() {
		return nil
	}
	return &service.Error{
		Failure: service.FailurePrivilege, Remedy: "run it in a terminal that was opened as administrator",
		Err: fmt.Errorf("%s: it needs the rights of an administrator, to %s", forWhat.doing, forWhat.means),
	}
}
