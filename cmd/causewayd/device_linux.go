package main

import (
	"log/slog"
	"os"

	"github.com/causewayhq/causeway/service"
	"github.com/causewayhq/causeway/tun"
)

// newDevices takes over the device that the last process left in the service
// manager's descriptor store, and keeps the next one there.
func newDevices(logger *slog.Logger) devices {
	left := service.Inherited(os.LookupEnv, os.Getpid(), logger)
	for _, name := range service.Inheritance {
		_ = os.Unsetenv(name) // of no child's concern; it fails for no name of ours
	}
	if manager := service.OpenManager(os.LookupEnv); manager != nil {
		return tun.NewKeeper(logger, manager, left)
	}
	return tun.NewKeeper(logger, nil, left)
}
