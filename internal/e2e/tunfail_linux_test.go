package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/causewayhq/causeway/internal/rig"
	"github.com/causewayhq/causeway/internal/testnet"
	"github.com/causewayhq/causeway/tun"
)

// The exit codes that are published.
const (
	exitConfig    = 10
	exitTUN       = 13
	exitPrivilege = 15
)

// tunFailure is one way in which a machine gives no TUN device.
type tunFailure struct {
	name string
	// plant makes the host so; it runs in a shell on it.
	plant string
	// as is what the daemon is started by: other rights.
	as   []string
	args []string
	code int
	// cause and remedy are parts of what it prints.
	cause, remedy string
	// mend is the remedy as a shell runs it; after it the daemon starts. Empty
	// if the remedy is not for a shell.
	mend string
	// held has another process keep the device meanwhile.
	held bool
}

const (
	hideNode   = "mount -t tmpfs tmpfs /dev/net; "
	hideDriver = "mount -t tmpfs tmpfs /sys/class/misc; "
	emptyNode  = hideNode + "mknod -m 666 /dev/net/tun c 10 199; " // a minor that belongs to nobody
	makeNode   = "rm -f /dev/net/tun && mknod -m 666 /dev/net/tun c 10 200"
	container  = "touch /run/.containerenv; "
	// uncontained makes a root directory without the marks of a container,
	// for the machine that runs this may be one.
	uncontained = `ROOT=/tmp/root; mkdir -p $ROOT /tmp/over; mount -t tmpfs tmpfs /tmp/over; mkdir /tmp/over/u /tmp/over/w
		mount -t overlay overlay -o lowerdir=/,upperdir=/tmp/over/u,workdir=/tmp/over/w $ROOT; rm -f $ROOT/.dockerenv
		for dir in dev sys proc etc var run; do mount --rbind /$dir $ROOT/$dir; done; `
)

// onBareMetal runs in that root directory.
var onBareMetal = []string{"chroot", "/tmp/root"}

// withoutNetAdmin is root without the capability.
var withoutNetAdmin = []string{"setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin", "--"}

var tunFailures = []tunFailure{
	{
		name: "no device node", plant: hideNode + uncontained, as: onBareMetal, code: exitTUN,
		cause: "the kernel has the TUN driver, but /dev/net/tun is missing", remedy: "mkdir -p /dev/net && mknod -m 666 /dev/net/tun c 10 200",
		mend: "mkdir -p /dev/net && mknod -m 666 /dev/net/tun c 10 200",
	},
	{
		name: "another device over the node", plant: "mount --bind /dev/null /dev/net/tun", code: exitTUN,
		cause: "/dev/net/tun is there, but it is not the TUN device", remedy: "umount /dev/net/tun; rm -f /dev/net/tun && mknod",
		mend: "umount /dev/net/tun",
	},
	{
		name: "no driver, modules installed", code: exitTUN,
		plant: hideDriver + emptyNode + uncontained + "mkdir -p $ROOT/lib/modules/$(uname -r)", as: onBareMetal,
		cause: "has no TUN driver loaded", remedy: "run: modprobe tun",
	},
	{
		name: "no driver, kernel upgraded", code: exitTUN,
		plant: hideDriver + emptyNode + uncontained + "rm -rf $ROOT/lib/modules; mkdir -p $ROOT/lib/modules/0.0.1", as: onBareMetal,
		cause: "has no TUN driver, and its modules are not installed", remedy: "reboot if the kernel was upgraded",
	},
	{
		name: "container on a machine without the driver", plant: container + hideDriver + emptyNode, code: exitTUN,
		cause: "of the machine that runs this container has no TUN driver loaded", remedy: "run on that machine: modprobe tun",
	},
	{
		name: "node of no device", plant: emptyNode, code: exitTUN,
		cause: "it is not the TUN device", remedy: "mknod -m 666 /dev/net/tun c 10 200", mend: makeNode,
	},
	{
		name: "container without the device", plant: container + hideNode, code: exitTUN,
		cause: "this container has no /dev/net/tun", remedy: "--device /dev/net/tun --cap-add NET_ADMIN", mend: makeNode,
	},
	{
		name: "container without the capability", plant: container, as: withoutNetAdmin, code: exitTUN,
		cause: "lacks the capability CAP_NET_ADMIN", remedy: "--cap-add NET_ADMIN",
	},
	{
		name: "root without the capability", plant: uncontained, as: slices.Concat(onBareMetal, withoutNetAdmin), code: exitTUN,
		cause: "lacks the capability CAP_NET_ADMIN", remedy: "run as root or as the system service",
	},
	{
		name: "sandboxed root", code: exitTUN,
		plant: "mount -t tmpfs -o nodev tmpfs /dev/net; mknod -m 666 /dev/net/tun c 10 200",
		cause: "a sandbox forbids /dev/net/tun", remedy: "DeviceAllow=/dev/net/tun rw", mend: "mount -o remount,dev /dev/net",
	},
	{
		name: "not root", as: []string{"setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--"}, code: exitPrivilege,
		cause: "it needs root", remedy: "sudo causewayd run",
	},
	{
		name: "name held by a process", held: true, code: exitTUN,
		cause: "the name belongs to a TUN device held by process", remedy: "choose another interface name",
	},
	{
		name: "name of a kept device", plant: "ip tuntap add dev causeway0 mode tun", code: exitTUN,
		cause: "the name belongs to a TUN device that already exists", remedy: "ip -d link show causeway0",
		mend: "ip tuntap del dev causeway0 mode tun",
	},
	{
		name: "name of another kind", plant: "ip link add causeway0 type bridge", code: exitTUN,
		cause: "the name belongs to another interface, of kind bridge", remedy: "choose another interface name",
		mend: "ip link del causeway0",
	},
	{
		name: "name too long", args: []string{"--interface", "sixteen-bytes-xx"}, code: exitConfig,
		cause: "sixteen-bytes-xx", remedy: "causewayd --help",
	},
}

// TestTUNFailures has the real daemon refuse on hosts that give no TUN device:
// with its own exit code, cause and remedy, leaving nothing; and start once the
// remedy is carried out.
func TestTUNFailures(t *testing.T) {
	needRig(t, true)
	for _, failure := range tunFailures {
		t.Run(failure.name, func(t *testing.T) {
			t.Parallel()
			host, err := testnet.NewHost(t.Context(), "tunfail")
			must(t, err)
			t.Cleanup(func() {
				if err := host.Close(); err != nil {
					t.Error(err)
				}
			})
			if failure.plant != "" {
				_, err := host.Shell(t.Context(), failure.plant)
				must(t, err)
			}
			if failure.held {
				hold(t, host)
			}
			before := footprint(t, host)
			refuses(t, host, failure)
			if lines := diff(before, footprint(t, host)); len(lines) > 0 {
				t.Errorf("the host differs from before:\n%s", strings.Join(lines, "\n"))
			}
			if failure.mend != "" {
				_, err := host.Shell(t.Context(), failure.mend)
				must(t, err)
				starts(t, host)
			}
		})
	}
}

// footprint is what a daemon that refuses could have left; its own directories,
// in which there are only the lock and an empty place for a crash, are its to keep.
func footprint(t *testing.T, host *testnet.Host) string {
	t.Helper()
	output, err := host.Shell(t.Context(), `for what in link addr "route show table all" "-6 route show table all" rule "-6 rule"; do
		echo "== $what"; ip -d $what | sed -E 's/ (valid_lft|preferred_lft|expires) [0-9a-z]+//g'; done
		find /run /var/lib /dev/net ! -path /run/causeway ! -path /var/lib/causeway ! -path /var/lib/causeway/lock ! -path /var/lib/causeway/crash.log; md5sum /etc/hosts /etc/resolv.conf`)
	must(t, err)
	return output
}

func refuses(t *testing.T, host *testnet.Host, failure tunFailure) {
	t.Helper()
	words := slices.Concat(failure.as, []string{filepath.Join(bin, "causewayd"), "run"}, failure.args)
	output, err := host.Command(within(t, 20*time.Second), words[0], words[1:]...).CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != failure.code {
		t.Errorf("ended with %v, want exit code %d", err, failure.code)
	}
	cause, remedy, found := strings.Cut(string(output), "\n  remedy: ")
	if !found || !strings.Contains(cause, failure.cause) || !strings.Contains(remedy, failure.remedy) {
		t.Errorf("want %q and the remedy %q, got\n%s", failure.cause, failure.remedy, output)
	}
	t.Logf("exit code %d\n%s", failure.code, output)
}

// hold has this very process keep the device, as a daemon that was forgotten
// does: a thread of its own opens it on the host.
func hold(t *testing.T, host *testnet.Host) {
	t.Helper()
	release, opened, done := make(chan struct{}), make(chan error), make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		device, err := openOn(host, "causeway0")
		opened <- err
		if err == nil {
			<-release
			device.Close()
		}
	}()
	t.Cleanup(func() { close(release); <-done })
	must(t, <-opened)
}

func openOn(host *testnet.Host, name string) (tun.Device, error) {
	namespace, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", host.PID()))
	if err != nil {
		return nil, err
	}
	defer namespace.Close()
	if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, err
	}
	return tun.Open(name, tun.MinMTU)
}

// starts runs the daemon until it serves its socket, and stops it.
func starts(t *testing.T, host *testnet.Host) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	defer cancel()
	command := host.Command(ctx, filepath.Join(bin, "causewayd"), "run")
	var output strings.Builder
	command.Stdout, command.Stderr = &output, &output
	must(t, command.Start())
	err := rig.Eventually(within(t, 15*time.Second), func() error {
		_, err := host.Run(ctx, filepath.Join(bin, "causeway"), "version", "--daemon")
		return err
	})
	cancel()
	_ = command.Wait()
	if err != nil {
		t.Errorf("after the remedy: %v\n%s", err, output.String())
	}
}

// TestNoIPv6: the device opens, but the host gives it no address. The status
// names cause and remedy, and the tunnel comes up by itself once that is done.
func TestNoIPv6(t *testing.T) {
	needRig(t, false)
	stack := newStack(t, testnet.Public, testnet.Public)
	_, err := stack.Client(t.Context(), "sysctl", "-w", "net.ipv6.conf.default.disable_ipv6=1")
	must(t, err)
	must(t, stack.StartAll(within(t, 90*time.Second)))
	_, _ = stack.Causeway(within(t, 30*time.Second), "up") // it may say that it is not connected
	var status string
	must(t, rig.Eventually(within(t, 30*time.Second), func() error {
		status, _ = stack.Causeway(within(t, 10*time.Second), "status")
		if !strings.Contains(status, "IPv6 is disabled") || !strings.Contains(status, "causeway0/disable_ipv6 is 1") || !strings.Contains(status, "switch it on") {
			return fmt.Errorf("status does not name the cause and the remedy:\n%s", status)
		}
		return nil
	}))
	t.Log(status)
	_, err = stack.Client(t.Context(), "sysctl", "-w", "net.ipv6.conf.causeway0.disable_ipv6=0")
	must(t, err)
	began := time.Now()
	must(t, rig.Eventually(within(t, 30*time.Second), func() error {
		// What answers here is libc, by way of the address and the route.
		_, err := stack.Client(within(t, 10*time.Second), "ping", "-6", "-c", "1", "-W", "1", rig.Name)
		if err == nil {
			status, err = stack.Causeway(within(t, 10*time.Second), "status")
		}
		if err == nil && (!strings.HasPrefix(status, "connected") || strings.Contains(status, "IPv6")) {
			err = errors.New(status)
		}
		return err
	}))
	figure(t, "%.2f s from IPv6 switched on to names, addresses and a green status", time.Since(began).Seconds())
}
