package testnet

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// labDir keeps the root file systems between runs: building them takes minutes.
const labDir = "/var/tmp/causeway-testhosts"

// Flavour is what resolves names on a systemd host.
type Flavour string

const (
	// Plain has a plain resolv.conf and nothing that could split DNS.
	Plain Flavour = "plain"
	// Resolved has systemd-resolved with its stub, and nss-resolve.
	Resolved Flavour = "resolved"
	// NetworkManager writes resolv.conf itself.
	NetworkManager Flavour = "nm"
	// Dnsmasq is NetworkManager with its dnsmasq plugin, which splits DNS.
	Dnsmasq Flavour = "nm-dnsmasq"
	// OpenResolv is the resolvconf of openresolv.
	OpenResolv Flavour = "openresolv"
	// Resolvconf is the resolvconf of Debian.
	Resolvconf Flavour = "resolvconf"
)

// layers names the Debian packages that a flavour has beyond the base.
var layers = map[Flavour][]string{
	Plain:          nil,
	Resolved:       {"systemd-resolved", "libnss-resolve"},
	NetworkManager: {"network-manager"},
	Dnsmasq:        {"network-manager", "dnsmasq-base"},
	OpenResolv:     {"openresolv"},
	Resolvconf:     {"resolvconf"},
}

// System is a host with a real systemd as its process 1, inside the network
// namespace of a Host.
type System struct {
	// Share is a directory that shows up as /run/host on the system.
	Share string

	name    string
	flavour Flavour
	boot    []string // lab.sh's arguments
}

// Base is the root file system that all flavours have in common, once
// BuildSystem has made it. It is never written to.
func Base() string { return filepath.Join(labDir, "base") }

func script() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "systemd", "lab.sh")
}

func lab(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "bash", append([]string{script()}, args...)...)
	cmd.Env = append(os.Environ(), "LAB="+labDir)
	return cmd
}

// BuildSystem makes the root file system of a flavour, if it is not there
// yet: minutes the first time, nothing later. One process builds at a time.
// Progress goes to the writer.
func BuildSystem(ctx context.Context, flavour Flavour, progress io.Writer) error {
	if err := os.MkdirAll(labDir, 0o755); err != nil {
		return fmt.Errorf("build system %s: %w", flavour, err)
	}
	lock, err := os.OpenFile(filepath.Join(labDir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("build system %s: %w", flavour, err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	base := filepath.Join(labDir, "base")
	err = once(base, func() error {
		fmt.Fprintln(progress, "building a Debian base system for test hosts (about 3 minutes, once)")
		cmd := exec.CommandContext(ctx, "bash", filepath.Join(filepath.Dir(script()), "mkbase.sh"), base)
		return loud(cmd)
	})
	if err != nil || layers[flavour] == nil {
		return err
	}
	return once(filepath.Join(labDir, "layers", string(flavour)), func() error {
		fmt.Fprintf(progress, "adding %s to it\n", strings.Join(layers[flavour], ", "))
		install := "apt-get update -qq && apt-get install -y -qq --no-install-recommends " + strings.Join(layers[flavour], " ")
		return loud(lab(ctx, "layer", string(flavour), base, "--", "sh", "-c", install))
	})
}

// once runs build unless an earlier run has finished with this directory; what
// a broken run left there is removed first.
func once(dir string, build func() error) error {
	done := dir + ".done"
	if _, err := os.Stat(done); err == nil {
		return nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove broken build: %w", err)
	}
	if err := build(); err != nil {
		return err
	}
	return os.WriteFile(done, nil, 0o644)
}

func loud(cmd *exec.Cmd) error {
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("run %s: %w: %s", strings.Join(cmd.Args, " "), err, output)
	}
	return nil
}

// Boot starts systemd in the network of the host and waits until it runs, with
// ResolverAddr as its name server. NetworkManager needs the host's eth0 first.
// Close stops the system; its own files are gone then.
func Boot(ctx context.Context, host *Host, flavour Flavour) (*System, error) {
	return BootKept(ctx, host, flavour, "")
}

// BootKept is Boot with a disk: what the system writes goes to the directory,
// and is there again after Reboot.
func BootKept(ctx context.Context, host *Host, flavour Flavour, keep string) (*System, error) {
	stopOrphans()
	system := &System{name: "lab-" + strconv.Itoa(host.PID()), flavour: flavour}
	system.Share = filepath.Join(labDir, "run", system.name, "share")
	root := filepath.Join(labDir, "base")
	if layers[flavour] != nil {
		root = filepath.Join(labDir, "layers", string(flavour), "up") + ":" + root
	}
	if err := os.MkdirAll(system.Share, 0o755); err != nil {
		return nil, fmt.Errorf("boot %s: %w", flavour, err)
	}
	files, err := seed(ctx, host, flavour)
	if err == nil {
		err = plant(filepath.Join(filepath.Dir(system.Share), "seed"), files)
	}
	if err != nil {
		return nil, fmt.Errorf("boot %s: %w", flavour, err)
	}
	system.boot = []string{"boot", system.name, root, fmt.Sprintf("/proc/%d/ns/net", host.PID()), keep}
	if err := system.start(ctx); err != nil {
		system.Close()
		return nil, err
	}
	return system, nil
}

func (s *System) start(ctx context.Context) error {
	if err := loud(lab(ctx, s.boot...)); err != nil {
		return err
	}
	if err := loud(lab(ctx, "wait", s.name, "120")); err != nil {
		return err
	}
	return s.settle(ctx, s.flavour)
}

// Reboot powers the system off and boots it again, with a new process 1 and an
// empty /run. Its disk is there again if it was booted by BootKept.
func (s *System) Reboot(ctx context.Context) error {
	if err := loud(lab(ctx, "halt", s.name)); err != nil {
		return err
	}
	return s.start(ctx)
}

// stopOrphans stops the systems of processes that were killed.
func stopOrphans() {
	entries, err := os.ReadDir(filepath.Join(labDir, "run"))
	if err != nil {
		return
	}
	for _, entry := range entries {
		pid, found := strings.CutPrefix(entry.Name(), "lab-")
		if _, err := os.Stat("/proc/" + pid); found && err != nil {
			(&System{name: entry.Name()}).Close()
		}
	}
}

// Command prepares a program that will run on the system, as root.
func (s *System) Command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := lab(ctx, append([]string{"exec", s.name, program}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// Run runs a program on the system and returns what it printed.
func (s *System) Run(ctx context.Context, program string, args ...string) (string, error) {
	output, err := s.Command(ctx, program, args...).CombinedOutput()
	if err != nil {
		return string(output), fmt.Errorf("run %s %s: %w: %s", program, strings.Join(args, " "), err, strings.TrimSpace(string(output)))
	}
	return string(output), nil
}

// Close powers the system off, also a frozen one.
func (s *System) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = s.Thaw(ctx) // one that never came up has nothing to thaw
	return loud(lab(context.Background(), "stop", s.name))
}
