package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/causewayhq/causeway/config"
	"github.com/causewayhq/causeway/internal/version"
	"github.com/causewayhq/causeway/netcfg"
	"github.com/causewayhq/causeway/service"
	"github.com/causewayhq/causeway/tun"
	"github.com/causewayhq/causeway/tunnel"
	"github.com/causewayhq/causeway/vpnproto"
)

const (
	// logPathEnv names a file for log records beside the manager.
	logPathEnv = "CODER_VPN_DAEMON_LOG_PATH"
	// managedDir keeps what a managed tunnel knows, beside the service's own
	// tunnel and under the same lock.
	managedDir = "managed"

	networkFlag    = "network-settings"
	networkSystem  = "system"
	networkManager = "manager"
)

var toBeManaged = purpose{
	"tunnel", "", "start managed tunnel", "make a network interface and set routes and name servers",
}

// tunnelCommand is the tunnel with another program as its manager. The name is
// "tunnel", or "run" below vpn-daemon.
func tunnelCommand(name string) *cobra.Command {
	command := &cobra.Command{
		Use: name, Short: "Run a tunnel for a manager that speaks the CoderVPN protocol", Args: cobra.NoArgs,
		Long: `Run a tunnel for another program, its manager, which starts and stops it with
CoderVPN messages (versions 1.0 to 1.3) over two pipes that it has opened. Log
records go to the manager, and to the file that ` + logPathEnv + `
names. The tunnel ends with a stop message, with SIGTERM, or when the manager
hangs up, and puts the host back.

It is the same tunnel as the service's, and one machine has one: it uses the
service's state directory, journal and interface, and refuses while the service
runs. Its own knowledge is kept in ` + managedDir + ` in that directory. After a crash
run causewayd cleanup, or start either of them.

With --` + networkFlag + ` ` + networkManager + ` the manager sets up interface, routes and DNS as
it is told, and may pass the interface in tunnel_file_descriptor.`,
		Example: "  causewayd tunnel --" + readFlag + " 3 --" + writeFlag + " 4",
	}
	load := settings(command)
	flags := command.Flags()
	read := flags.String(readFlag, "", "pipe to read the manager's messages from (or "+readEnv+")")
	write := flags.String(writeFlag, "", "pipe to write messages to (or "+writeEnv+")")
	network := flags.String(networkFlag, networkSystem, "who sets up interface, routes and DNS: "+networkSystem+" or "+networkManager)
	run := ran(func(cmd *cobra.Command) error {
		return runManaged(cmd.Context(), load, *read, *write, *network == networkManager)
	})
	command.RunE = func(cmd *cobra.Command, args []string) error {
		if *network != networkSystem && *network != networkManager {
			return fmt.Errorf("--%s %q: want %s or %s", networkFlag, *network, networkSystem, networkManager)
		}
		if _, _, err := descriptors(*read, *write); err != nil {
			return err // of the command line
		}
		return run(cmd, args)
	}
	return command
}

// vpnDaemonCommand makes the command line fit that managers know.
func vpnDaemonCommand() *cobra.Command {
	parent := &cobra.Command{Use: "vpn-daemon", Short: "The name of causewayd tunnel for managers that start vpn-daemon run", Hidden: true}
	parent.AddCommand(tunnelCommand("run"))
	return parent
}

// descriptors are the numbers of both pipes, from flags or else the environment.
func descriptors(read, write string) (in, out int, err error) {
	if in, err = descriptor(readFlag, readEnv, read); err != nil {
		return 0, 0, err
	}
	if out, err = descriptor(writeFlag, writeEnv, write); err != nil {
		return 0, 0, err
	}
	if in == out {
		return 0, 0, fmt.Errorf("--%s and --%s are both %d: want two", readFlag, writeFlag, in)
	}
	return in, out, nil
}

func descriptor(flag, variable, text string) (int, error) {
	from := "--" + flag
	if text == "" {
		text, from = os.Getenv(variable), variable
	}
	if text == "" {
		return 0, fmt.Errorf("missing --%s (or %s)", flag, variable)
	}
	const bits = 31
	number, err := strconv.ParseUint(text, 10, bits)
	if err != nil {
		return 0, fmt.Errorf("%s %q: want a number of 0 or more", from, text)
	}
	return int(number), nil
}

func runManaged(ctx context.Context, load func() (config.Daemon, error), read, write string, applied bool) error {
	options, err := load()
	if err != nil {
		return err
	}
	number, other, err := descriptors(read, write)
	if err != nil {
		return err
	}
	in, out, err := openPipes(number, other)
	if err != nil {
		return &service.Error{Failure: service.FailureManager, Remedy: "start it from a manager that opens both pipes", Err: err}
	}
	defer in.Close()
	defer out.Close()
	if err := privileged(toBeManaged); err != nil {
		return err
	}
	dir, err := service.OpenStateDir(options.StateDir)
	if err != nil {
		return err
	}
	defer dir.Close()
	local, closeLog, err := localLog(options)
	if err != nil {
		return err
	}
	defer closeLog()
	// No handover: nobody would go on with it.
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	// The guard also watches an end that the manager asked for.
	ending, end := context.WithCancel(inner)
	defer service.GuardShutdown(ending, os.Stderr, os.Exit)()
	defer end()
	return served(vpnproto.Serve(inner, in, out, vpnproto.Config{
		Log: local, Level: options.LogLevel,
		Stopping: end,
		New: func(profile tunnel.Profile, start vpnproto.Start) (vpnproto.Core, error) {
			return newManaged(options, profile, start, applied)
		},
	}))
}

// served gives the end of a session its exit code.
func served(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, tunnel.ErrHost):
		return &service.Error{Failure: service.FailureNetwork, Remedy: "run: causewayd cleanup", Err: err}
	}
	return &service.Error{Failure: service.FailureManager, Err: err}
}

// localLog is the file that the environment names. Standard error is no place for
// records: a manager that does not read it would hold us up.
func localLog(options config.Daemon) (slog.Handler, func(), error) {
	path := os.Getenv(logPathEnv)
	if path == "" {
		return slog.DiscardHandler, func() {}, nil
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, nil, &service.Error{Failure: service.FailureConfig, Remedy: "correct or unset " + logPathEnv, Err: fmt.Errorf("open log file: %w", err)}
	}
	handler := &slog.HandlerOptions{Level: options.LogLevel}
	return slog.NewTextHandler(file, handler), func() { file.Close() }, nil
}

// managed is one tunnel of a manager with what it holds.
type managed struct {
	*tunnel.Tunnel
	host    netcfg.OS
	devices devices
}

func newManaged(options config.Daemon, profile tunnel.Profile, start vpnproto.Start, applied bool) (vpnproto.Core, error) {
	host, err := newOS(options.StateDir, start.Logger)
	if err != nil {
		return nil, err
	}
	m := &managed{host: host, devices: newDevices(start.Logger)}
	wanted := tunnel.Config{
		Logger: start.Logger, Profile: profile, StateDir: filepath.Join(options.StateDir, managedDir), OS: host,
		Interface: options.Interface, OpenDevice: m.devices.Open,
		Telemetry: options.Telemetry, DNSForwarder: options.Forwarder, Version: version.Version,
	}
	if applied {
		wanted.OS = &appliedElsewhere{OS: host, apply: start.Apply}
		if start.Device > 0 {
			wanted.OpenDevice = func(_ string, mtu int) (tun.Device, error) { return openGiven(int(start.Device), mtu) }
		}
	}
	m.Tunnel = tunnel.New(wanted)
	return m, nil
}

// Run leaves nothing on the host, also when the tunnel could not go on: no other
// comes by itself.
func (m *managed) Run(ctx context.Context) error {
	defer m.host.Close()
	defer m.devices.Release()
	err := m.Tunnel.Run(ctx)
	if err != nil && ctx.Err() == nil {
		if undone := m.host.Cleanup(context.WithoutCancel(ctx)); undone != nil {
			err = errors.Join(err, fmt.Errorf("%w: %w", tunnel.ErrHost, undone))
		}
	}
	return err
}

// appliedElsewhere leaves interface, routes and DNS to the manager, which takes
// them away itself with the tunnel.
type appliedElsewhere struct {
	netcfg.OS
	apply func(context.Context, vpnproto.Network) error
}

func (a *appliedElsewhere) Apply(ctx context.Context, want netcfg.Config) error {
	if want.Interface == "" {
		return nil
	}
	return a.apply(ctx, vpnproto.Network{
		MTU: want.MTU, Addresses: want.Addresses, Routes: want.Routes,
		Nameservers: want.DNS.Nameservers, Suffixes: want.DNS.Suffixes,
	})
}

func (a *appliedElsewhere) Cleanup(context.Context) error { return nil }

func (a *appliedElsewhere) DNSMode() string { return "manager" }
