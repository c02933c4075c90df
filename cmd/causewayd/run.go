package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"

	"github.com/spf13/cobra"

	"github.com/causewayhq/causeway/config"
	"github.com/causewayhq/causeway/internal/version"
	"github.com/causewayhq/causeway/netcfg"
	"github.com/causewayhq/causeway/service"
	"github.com/causewayhq/causeway/tun"
	"github.com/causewayhq/causeway/tunnel"
)

func runCommand() *cobra.Command {
	command := &cobra.Command{
		Use: "run", Short: "Run the daemon in the foreground", Args: cobra.NoArgs,
		Long: `Run the daemon in the foreground. SIGTERM ends it and puts the host back.
SIGUSR2 ends it for another to go on: routes, addresses, names and, where the
service manager has a descriptor store, the interface stay as they are.
SIGUSR1 makes it write the stacks of all goroutines to standard error.`,
	}
	load := settingValues(command)
	managed := serviceFlag(command)
	command.RunE = ran(func(cmd *cobra.Command) error {
		return withServiceManager(cmd.Context(), *managed, func(ctx context.Context, mode serviceMode) error {
			values, err := load()
			if err != nil {
				return err
			}
			return runDaemon(ctx, values, mode)
		})
	})
	return command
}

func newService(values config.Values, options config.Daemon, mode serviceMode) *service.Service {
	level := new(slog.LevelVar)
	level.Set(options.LogLevel)
	logs := service.NewLogs()
	logger := slog.New(logs.Tee(leveledLogger(options, level).Handler()))
	devices := newDevices(logger)
	opened := make(chan struct{})
	var once sync.Once
	return service.New(service.Config{
		Logger:    logger,
		StateDir:  options.StateDir,
		Socket:    options.Socket,
		Version:   version.Version,
		OpenOS:    func() (netcfg.OS, error) { return newOS(options.StateDir, logger) },
		KeepGoing: mode.managed,
		Ready:     mode.ready,
		Preflight: func() error { return diagnosed(devices.Check(options.Interface, tunnel.MTU)) },
		Release:   devices.Release,
		Opened:    opened,
		NewTunnel: service.RealTunnels(tunnel.Config{
			Logger: logger, StateDir: options.StateDir, Interface: options.Interface,
			OpenDevice: func(name string, mtu int) (tun.Device, error) {
				device, err := devices.Open(name, mtu)
				if err != nil {
					return nil, diagnosed(err)
				}
				once.Do(func() { close(opened) })
				return device, nil
			},
			Version: version.Version,
		}),
		Verify:    service.VerifyToken,
		Revoke:    service.RevokeToken,
		Expiry:    service.TokenExpiry,
		Sessions:  service.SystemSessions,
		Settings:  values,
		LogLevel:  level,
		Logs:      logs,
		LookupEnv: os.LookupEnv,
	})
}

func newLogger(options config.Daemon) *slog.Logger { return leveledLogger(options, options.LogLevel) }

func leveledLogger(options config.Daemon, level slog.Leveler) *slog.Logger {
	handler := &slog.HandlerOptions{Level: level}
	if options.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(logOutput, handler))
	}
	return slog.New(slog.NewTextHandler(logOutput, handler))
}

// devices is where TUN devices come from: the system, or the last process.
type devices interface {
	Open(name string, mtu int) (tun.Device, error)
	// Check tells whether Open would succeed.
	Check(name string, mtu int) error
	// Release lets a device go that is kept for the next tunnel or process.
	Release()
}

// diagnosed gives a device's error its exit code, and the remedy a place of its
// own.
func diagnosed(err error) error {
	if err == nil {
		return nil
	}
	failed := &service.Error{Failure: service.FailureTUN, Err: err}
	var known *tun.Error
	if errors.As(err, &known) {
		plain := *known
		plain.Remedy = ""
		failed.Remedy, failed.Err = known.Remedy, &plain
	}
	return failed
}
