package crashmatrix

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/causewayhq/causeway/internal/rig"
	"github.com/causewayhq/causeway/internal/testnet"
)

// phase is one thing that makes the daemon write its journal.
type phase struct {
	name string
	// running says that the tunnel works before it begins.
	running bool
	// act makes it happen and does not wait for its end.
	act func(ctx context.Context, b *bench) error
	// ends says that the daemon, or its tunnel, is meant to end by it.
	ends bool
}

var phases = []phase{
	{name: "start", act: func(_ context.Context, b *bench) error { return b.start() }},
	{name: "device deleted", running: true, act: func(ctx context.Context, b *bench) error {
		_, err := b.system.Run(ctx, "ip", "link", "del", "causeway0")
		return err
	}},
	{name: "trampled", running: true, act: func(ctx context.Context, b *bench) error {
		_, err := b.system.Run(ctx, "sh", "-c", trample[b.flavour]+trampleAll)
		return err
	}},
	{name: "new workspace", running: true, act: newWorkspace},
	{name: "down", running: true, ends: true, act: func(ctx context.Context, b *bench) error {
		// It may not live to answer.
		_ = b.system.Command(ctx, "/run/host/causeway", "down").Run()
		return nil
	}},
	{name: "SIGTERM", running: true, ends: true, act: func(_ context.Context, b *bench) error {
		return b.daemon.process.Signal(syscall.SIGTERM)
	}},
}

// trample is how other programs of each flavour take away what we set: each
// writes what stood there before us. dnsmasq is not started anew by it: what that
// costs is not our doing.
var trample = map[testnet.Flavour]string{
	testnet.Resolved:       "resolvectl revert causeway0;",
	testnet.Plain:          "cp /var/lib/kept/resolv.conf /etc/resolv.conf.new; mv /etc/resolv.conf.new /etc/resolv.conf;",
	testnet.NetworkManager: "nmcli general reload;",
	testnet.Dnsmasq:        "rm -f /etc/NetworkManager/dnsmasq.d/causeway.conf; nmcli general reload dns-rc;",
	testnet.OpenResolv:     "for name in $(resolvconf -i); do case $name in *causeway*) resolvconf -f -d $name;; esac; done; resolvconf -u;",
	testnet.Resolvconf:     "for path in /run/resolvconf/interface/*causeway*; do test ! -e $path || resolvconf -d ${path##*/}; done; resolvconf -u;",
}

const trampleAll = `cp -p /var/lib/kept/hosts /etc/hosts.new; mv /etc/hosts.new /etc/hosts
ip -6 route flush dev causeway0 proto 173; ip addr flush dev causeway0; true`

// newWorkspace makes one more name known, and waits until the host knows it.
func newWorkspace(ctx context.Context, b *bench) error {
	b.spares++
	name := fmt.Sprintf("spare%d", b.spares)
	if _, err := b.stack.AddAgent(ctx, rig.Owner, name, rig.Agent); err != nil {
		return err
	}
	return rig.Eventually(ctx, func() error {
		if b.ended() {
			return nil
		}
		output, err := b.system.Run(ctx, "getent", "ahostsv6", strings.Replace(rig.Name, rig.Workspace, name, 1))
		if err != nil {
			return fmt.Errorf("%w: %s", err, output)
		}
		return nil
	})
}

// record runs a phase without a crash and returns its steps. The host is as it
// was before the first start, before and after.
func (b *bench) record(ctx context.Context, p phase) ([]string, error) {
	if err := b.prepare(ctx, p, mark{}); err != nil {
		return nil, err
	}
	if err := p.act(ctx, b); err != nil {
		return nil, err
	}
	if err := b.finish(ctx, p); err != nil {
		return nil, err
	}
	steps, err := b.steps()
	if err != nil {
		return nil, err
	}
	return steps, b.restore(ctx)
}

// prepare brings the host to where the phase begins, armed.
func (b *bench) prepare(ctx context.Context, p phase, at mark) error {
	if !p.running {
		return b.arm(at)
	}
	if err := b.arm(mark{}); err != nil {
		return err
	}
	if err := errors.Join(b.up(ctx), b.rest(ctx)); err != nil {
		return fmt.Errorf("before the phase: %w", err)
	}
	return b.arm(at)
}

// finish waits for the end of a phase in which nothing crashes.
func (b *bench) finish(ctx context.Context, p phase) error {
	if p.name == "down" {
		return nil // the command line has waited
	}
	if p.ends {
		return b.waitEnd()
	}
	return b.rest(ctx)
}

// restore ends the daemon as a user does and takes away what is left.
func (b *bench) restore(ctx context.Context) error {
	if err := b.stop(); err != nil {
		return err
	}
	return b.cleanup(ctx)
}
