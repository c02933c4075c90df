package main

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"os"

	"github.com/spf13/cobra"

	"github.com/causewayhq/causeway/client"
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
		Long: "Run the daemon in the foreground. SIGTERM ends it; SIGUSR1 makes it write the stacks of all goroutines to standard error.",
	}
	load := settings(command)
	command.RunE = ran(func(cmd *cobra.Command) error {
		options, err := load()
		if err != nil {
			return err
		}
		if err := privileged(); err != nil {
			return err
		}
		stop := service.GuardShutdown(cmd.Context(), os.Stderr, os.Exit)
		defer stop()
		defer dumpStacks(os.Stderr)()
		return newService(options).Run(cmd.Context())
	})
	return command
}

func newService(options config.Daemon) *service.Service {
	logger := newLogger(options)
	return service.New(service.Config{
		Logger:    logger,
		StateDir:  options.StateDir,
		Socket:    options.Socket,
		Version:   version.Version,
		OpenOS:    func() (netcfg.OS, error) { return newOS(options.StateDir, logger) },
		Preflight: func() error { return tryDevice(options.Interface) },
		NewTunnel: service.RealTunnels(tunnel.Config{
			Logger: logger, StateDir: options.StateDir, Interface: options.Interface, OpenDevice: openDevice,
			Telemetry: options.Telemetry, Version: version.Version,
		}),
		Verify: func(ctx context.Context, access *url.URL, token client.Token) (client.User, error) {
			return client.New(access, token, client.Options{}).Me(ctx)
		},
		LookupEnv: os.LookupEnv,
	})
}

func newLogger(options config.Daemon) *slog.Logger {
	handler := &slog.HandlerOptions{Level: options.LogLevel}
	if options.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, handler))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, handler))
}

// openDevice opens the TUN device; its errors carry their remedy.
func openDevice(name string, mtu int) (tun.Device, error) {
	device, err := tun.Open(name, mtu)
	if err == nil {
		return device, nil
	}
	failed := &service.Error{Failure: service.FailureTUN, Err: err}
	var diagnosed *tun.Error
	if errors.As(err, &diagnosed) {
		plain := *diagnosed
		plain.Remedy = ""
		failed.Remedy, failed.Err = diagnosed.Remedy, &plain
	}
	return nil, failed
}

// tryDevice makes the TUN device and takes it away again: nothing short of
// that tells whether the kernel will give one.
func tryDevice(name string) error {
	device, err := openDevice(name, tunnel.MTU)
	if err != nil {
		return err
	}
	if err := device.Close(); err != nil {
		return &service.Error{Failure: service.FailureTUN, Err: err}
	}
	return nil
}
