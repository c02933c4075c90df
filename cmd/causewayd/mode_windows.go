package main

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync/atomic"

	"github.com/spf13/cobra"

	"github.com/causewayhq/causeway/config"
	platform "github.com/causewayhq/causeway/platform_windows"
	"github.com/causewayhq/causeway/service"
	"github.com/causewayhq/causeway/service/system"
	"github.com/causewayhq/causeway/tunnel"
)

// serviceFlag is in the command line that install registers.
func serviceFlag(command *cobra.Command) *bool {
	managed := command.Flags().Bool(system.ServiceFlag, false, "run by the service manager of Windows")
	if err := command.Flags().MarkHidden(system.ServiceFlag); err != nil {
		panic(err) // the flag is there
	}
	return managed
}

// handOverFlag is what the installer gives "stop" before it replaces programs.
const handOverFlag = "hand-over"

func offerHandOver(command *cobra.Command) {
	command.Flags().Bool(handOverFlag, false, "leave rules and names as they are, for the daemon that is started next")
}

func handsOver(command *cobra.Command) bool {
	set, err := command.Flags().GetBool(handOverFlag)
	return err == nil && set // an error: the command has no such flag
}

// logDir is beside the settings; the state directory's access list covers it.
var logDir = filepath.Join(config.DefaultStateDir, "Logs")

// withServiceManager runs the daemon as the service that Windows has started.
// Nobody sees its standard error, so it logs to a file.
func withServiceManager(ctx context.Context, managed bool, run func(context.Context, serviceMode) error) error {
	if !managed {
		return run(ctx, serviceMode{})
	}
	return system.RunService(ctx, system.Daemon{
		HandOver: tunnel.ErrHandover,
		Run: func(ctx context.Context, ready func()) error {
			file, err := openLog()
			if err == nil {
				defer file.Close()
				logOutput = file
			}
			err = run(ctx, serviceMode{managed: true, ready: ready})
			if err != nil && file != nil {
				slog.New(slog.NewTextHandler(file, nil)).Error("daemon ended", slog.Any("error", err))
			}
			return err
		},
		Signal: func(control, event, session uint32) {
			signal, ok := platform.FromService(control, event, session)
			if host := current.Load(); ok && host != nil {
				host.Observe(signal)
			}
		},
	})
}

// current is the platform that is told of power and sessions.
var current atomic.Pointer[platform.OS]

// openLog opens the log in a directory that nobody else may write to.
func openLog() (*system.LogFile, error) {
	dir, err := service.OpenStateDir(config.DefaultStateDir)
	if err != nil {
		return nil, err
	}
	if err := dir.Close(); err != nil {
		return nil, err
	}
	return system.OpenLog(logDir, "causewayd.log")
}
