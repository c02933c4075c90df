package testnet

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Host is a network namespace and a mount namespace. In it, /etc is a private
// copy-on-write view and /run, /tmp and /var/lib are empty and private.
type Host struct {
	// Name is for messages and is the host name inside.
	Name string

	holder *exec.Cmd
	hold   io.Closer
}

// prepare runs as the first process of a host. Writes below /etc stay private,
// so that a resolver configuration or a hosts file can be replaced by rename.
const prepare = `set -e
mount --make-rprivate /
hostname "$1"
work=$(mktemp -d /dev/shm/testnet.XXXXXX)
mount -t tmpfs -o mode=755 tmpfs "$work"
mkdir "$work/upper" "$work/work"
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$work/upper,workdir=$work/work" /etc
umount -l "$work"
rmdir "$work"
for dir in /run /var/lib /tmp; do mount -t tmpfs -o mode=755 tmpfs "$dir"; done
chmod 1777 /tmp
mkdir -p /run/lock
mount -t sysfs -o nosuid,nodev,noexec sysfs /sys 2>/dev/null || true
rm -f /etc/resolv.conf
printf 'nameserver 192.0.2.253\noptions timeout:1 attempts:1\n' > /etc/resolv.conf
printf '127.0.0.1 localhost\n::1 localhost\n' > /etc/hosts
printf 'passwd: files\ngroup: files\nhosts: files dns\n' > /etc/nsswitch.conf
ip link set lo up
echo ready
exec cat >/dev/null
`

// NewHost makes a host with a loopback interface and nothing else. The context
// bounds only the making.
func NewHost(ctx context.Context, name string) (*Host, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("make host: needs root, for namespaces")
	}
	holder := exec.Command("sh", "-c", prepare, "sh", name)
	holder.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS,
		Setpgid:    true,
	}
	// An *os.File of our own, not StdinPipe: the host lives until Close or
	// until this process is gone, whichever comes first.
	theirs, ours, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make host %s: %w", name, err)
	}
	defer theirs.Close()
	holder.Stdin = theirs
	var complaint strings.Builder
	holder.Stderr = &complaint
	output, err := holder.StdoutPipe()
	if err != nil {
		ours.Close()
		return nil, fmt.Errorf("make host %s: %w", name, err)
	}
	if err := holder.Start(); err != nil {
		ours.Close()
		return nil, fmt.Errorf("make host %s: %w", name, err)
	}
	host := &Host{Name: name, holder: holder, hold: ours}
	stop := context.AfterFunc(ctx, func() { ours.Close() })
	defer stop()
	line, err := bufio.NewReader(output).ReadString('\n')
	if err != nil || line != "ready\n" {
		host.Close()
		return nil, fmt.Errorf("make host %s: %s", name, strings.TrimSpace(complaint.String()))
	}
	return host, nil
}

// PID is the process that holds the namespaces.
func (h *Host) PID() int { return h.holder.Process.Pid }

// Command prepares a program that will run on the host, in / and as root. It is
// killed when the context ends and also when this process dies.
func (h *Host) Command(ctx context.Context, program string, args ...string) *exec.Cmd {
	pid := strconv.Itoa(h.PID())
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"-t", pid, "-n", "-m", "-u", "--", program}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	// With all that it started, or else what a shell left running keeps the
	// output open, and Wait with it.
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 2 * time.Second
	return cmd
}

// Run runs a program on the host and returns what it printed on both outputs;
// a failure holds that text too.
func (h *Host) Run(ctx context.Context, program string, args ...string) (string, error) {
	output, err := h.Command(ctx, program, args...).CombinedOutput()
	if err != nil {
		return string(output), fmt.Errorf("run %s %s on %s: %w: %s", program, strings.Join(args, " "), h.Name, err, strings.TrimSpace(string(output)))
	}
	return string(output), nil
}

// Shell runs a script of sh on the host, stopping at its first failure.
func (h *Host) Shell(ctx context.Context, script string) (string, error) {
	return h.Run(ctx, "sh", "-ec", script)
}

// Write puts a file on the host, 0644.
func (h *Host) Write(ctx context.Context, path, content string) error {
	cmd := h.Command(ctx, "sh", "-c", `cat > "$1"`, "sh", path)
	cmd.Stdin = strings.NewReader(content)
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("write %s on %s: %w: %s", path, h.Name, err, output)
	}
	return nil
}

// Close ends the host and all its interfaces. Programs that still run on it
// keep their namespaces until they end: close them first.
func (h *Host) Close() error {
	h.hold.Close()
	err := h.holder.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil
	}
	return err
}
