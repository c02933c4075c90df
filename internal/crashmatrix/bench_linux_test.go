package crashmatrix

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/causewayhq/causeway/internal/rig"
	"github.com/causewayhq/causeway/internal/testnet"
)

const (
	// startLimit is how long a start may take until everything works.
	startLimit = 30 * time.Second
	// endLimit is how long the daemon may take to end, or to reach the step at
	// which it dies. Its own guard ends one that hangs after 20 s.
	endLimit = 25 * time.Second
)

// bench is one booted host with a Causeway around it, on which cells run back
// to back.
type bench struct {
	flavour testnet.Flavour
	forward bool
	stack   *rig.Stack
	system  *testnet.System
	// before is the host before the first start.
	before snapshot
	// addr is what the workspace's name resolves to.
	addr string
	// user is the token of the user who signs in.
	user string
	// spares counts the workspaces made on the way.
	spares int
	// armed is how many steps there were at the last arm.
	armed int

	stopAsking func() []lookup
	// daemon is nil where systemd runs it.
	daemon *daemon
}

// daemon is one that runs on the host. What the rig started there is only the
// one that entered the host: the daemon is its child.
type daemon struct {
	*rig.Program
	process *os.Process
}

// newBench boots the host and starts the control plane and an agent.
func newBench(t *testing.T, flavour testnet.Flavour, forward bool) *bench {
	t.Helper()
	must(t, testnet.BuildSystem(t.Context(), flavour, t.Output()))
	net, err := testnet.New(t.Context(), testnet.Public, testnet.Public)
	must(t, err)
	dir := os.Getenv("CAUSEWAY_LOGS") // to keep them
	if dir == "" {
		dir = t.TempDir()
	} else {
		dir = filepath.Join(dir, strings.ReplaceAll(t.Name(), "/", "-"))
		must(t, os.MkdirAll(dir, 0o755))
	}
	b := &bench{flavour: flavour, forward: forward, stack: rig.New(net, bin, dir)}
	t.Cleanup(func() { b.close(t) })
	must(t, net.ServeNames(t.Context()))
	b.system, err = testnet.Boot(within(t, 3*time.Minute), net.Client, flavour)
	must(t, err)
	must(t, b.stack.OnSystem(b.system))
	must(t, os.WriteFile(filepath.Join(b.system.Share, "snapshot.sh"), []byte(snapshotScript), 0o644))
	ctx := within(t, time.Minute)
	if flavour == testnet.Plain {
		// As most hosts have it: with the limits of libc, 5 s for an answer.
		_, err := b.system.Run(ctx, "sh", "-ec", "echo nameserver "+testnet.ResolverAddr+" > /etc/resolv.conf")
		must(t, err)
	}
	_, err = b.system.Run(ctx, "sh", "-ec", "mkdir -p /var/lib/kept; cp -a /etc/hosts /etc/resolv.conf /var/lib/kept/ 2>/dev/null || true; test -e /etc/hosts")
	must(t, err)
	must(t, b.stack.StartServer(ctx))
	b.user, err = b.stack.AddUser(ctx, rig.Owner)
	must(t, err)
	token, err := b.stack.AddAgent(ctx, rig.Owner, rig.Workspace, rig.Agent)
	must(t, err)
	must(t, b.stack.StartAgent(ctx, token))
	b.before = b.baseline(t)
	return b
}

func (b *bench) close(t *testing.T) {
	if b.daemon != nil {
		_ = b.daemon.process.Kill()
	}
	err := b.stack.Close()
	if b.system != nil {
		err = errors.Join(err, b.system.Close())
	}
	if err = errors.Join(err, b.stack.Net.Close()); err != nil {
		t.Error(err)
	}
	if t.Failed() && b.stack.Server != nil {
		t.Logf("server:\n%s", tail(b.stack.Server.Log(), 20))
	}
}

// tail is the end of a log.
func tail(log string, count int) string {
	lines := strings.Split(strings.TrimSpace(log), "\n")
	return strings.Join(lines[max(0, len(lines)-count):], "\n")
}

// start starts the daemon and returns before it has done anything.
func (b *bench) start() error {
	env := []string{"CAUSEWAY_STEPS=/run/host/" + daemonSteps}
	if b.forward {
		env = append(env, "CAUSEWAY_DNS_FORWARDER=on")
	}
	cmd := b.stack.On(context.Background(), "env", append(env, "/run/host/causewayd", "run")...)
	program, err := b.stack.Start("daemon", cmd)
	if err != nil {
		return err
	}
	process, err := childOf(cmd, "causewayd")
	if err != nil {
		return fmt.Errorf("%w\n%s", err, program.Log())
	}
	b.daemon = &daemon{program, process}
	return nil
}

// works waits until the tunnel is all right by its own word, and the name of
// the workspace has its address for an application.
func (b *bench) works(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	return rig.Eventually(ctx, func() error { return b.worksNow(ctx) })
}

func (b *bench) worksNow(ctx context.Context) error {
	if b.ended() {
		return rig.Final(fmt.Errorf("the daemon has ended:\n%s", tail(b.daemon.Log(), 30)))
	}
	output, err := b.system.Run(context.WithoutCancel(ctx), "sh", "-c", `/run/host/causeway status && getent ahostsv6 `+rig.Name)
	if err != nil {
		return err
	}
	if found := lastAddress(output); b.addr == "" {
		b.addr = found
	} else if found != b.addr {
		return fmt.Errorf("%s is %s, not %s", rig.Name, found, b.addr)
	}
	return nil
}

// lastAddress is that of the last line that getent printed.
func lastAddress(output string) string {
	lines := strings.Split(strings.TrimSpace(output), "\n")
	address, _, _ := strings.Cut(lines[len(lines)-1], " ")
	return address
}

// ended tells that nobody will start the daemon anew.
func (b *bench) ended() bool {
	if b.daemon == nil {
		return false
	}
	select {
	case <-b.daemon.Done():
		return true
	default:
		return false
	}
}

// waitEnd waits until the daemon has gone.
func (b *bench) waitEnd() error {
	select {
	case <-b.daemon.Done():
		return nil
	case <-time.After(endLimit):
		return fmt.Errorf("the daemon still runs after %v:\n%s", endLimit, tail(b.daemon.Log(), 30))
	}
}

// kill ends the daemon as a crash does, if it has not ended by itself.
func (b *bench) kill() error {
	_ = b.daemon.process.Kill()
	return b.waitEnd()
}

// stop ends the daemon as a user does.
func (b *bench) stop() error {
	_ = b.daemon.process.Signal(syscall.SIGTERM)
	return b.waitEnd()
}

// up starts the daemon, says that the tunnel is wanted, and waits for it.
func (b *bench) up(ctx context.Context) error {
	if err := b.start(); err != nil {
		return err
	}
	return errors.Join(b.wish(ctx, "up"), b.works(ctx))
}

// wish tells the daemon what the user wants, as soon as it listens; "status" waits
// for that alone.
func (b *bench) wish(ctx context.Context, verb string) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	return rig.Eventually(ctx, func() error {
		if b.ended() {
			return nil // works will say so
		}
		output, err := b.system.Run(context.WithoutCancel(ctx), "/run/host/causeway", verb)
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.ExitCode() != exitNoDaemon {
			return nil // it was told; whether it works is looked at by itself
		}
		if err != nil {
			return fmt.Errorf("%w: %s", err, output)
		}
		return nil
	})
}

// exitNoDaemon is the command line's exit code when nobody listens.
const exitNoDaemon = 3

// cleanup runs the cleanup verb twice, as the issue wants it.
func (b *bench) cleanup(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var errs []error
	for range 2 {
		_, err := b.system.Run(ctx, "env", "CAUSEWAY_STEPS=/run/host/"+cleanupSteps, "/run/host/causewayd", "cleanup")
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
