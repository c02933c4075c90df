package platform

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"
)

// getentPaths are absolute: a daemon that runs as root searches no PATH.
var getentPaths = []string{"/usr/bin/getent", "/bin/getent"}

// Exit codes of getent, from getent(1).
const getentNotFound = 2

// lookupTimeout bounds a lookup whose context does not: libc alone would try
// two servers three times, at five seconds each.
const lookupTimeout = 10 * time.Second

// Lookup resolves a name as applications on this host do, in every way that
// they have: libc always, and systemd-resolved over D-Bus without its cache
// where it is the mechanism. Each of the two can work while the other does not:
// libc may be led past resolved by a resolv.conf, and a cache may hide that our
// server does not answer. The addresses are libc's; the error says which failed.
func (o *OS) Lookup(ctx context.Context, name string) ([]netip.Addr, error) {
	if name == "" || strings.HasPrefix(name, "-") || strings.ContainsAny(name, "\x00 \t\r\n/") {
		return nil, fmt.Errorf("look up %q: not a host name", name)
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	if o.DNSMode() != ModeResolved {
		list, err := lookupLibc(ctx, name)
		return list, o.blame(err)
	}
	var group sync.WaitGroup
	var direct []netip.Addr
	var directErr error
	group.Go(func() { direct, directErr = o.resolved.lookup(ctx, name) })
	list, err := lookupLibc(ctx, name)
	group.Wait()
	if directErr != nil {
		directErr = fmt.Errorf("ask systemd-resolved without its cache: %w", directErr)
	}
	if err := errors.Join(directErr, o.blame(err)); err != nil {
		return nil, err
	}
	for _, a := range direct {
		if !slices.Contains(list, a) {
			return nil, fmt.Errorf("look up %s: libc answers %v, systemd-resolved %v", name, list, direct)
		}
	}
	return list, nil
}

// blame adds to an error of libc's what leads it past the mechanism in use.
func (o *OS) blame(err error) error {
	if err == nil {
		return nil
	}
	err = fmt.Errorf("ask libc: %w", err)
	content, readErr := readText(o.options.ResolvConf)
	if readErr != nil {
		return fmt.Errorf("%w (%w)", err, readErr)
	}
	nsswitch, _ := readText(o.options.Nsswitch)
	if past := leadsPast(o.DNSMode(), content, nsswitch); past != "" {
		return fmt.Errorf("%w; %s", err, past)
	}
	return err
}

// lookupLibc asks with all that nsswitch.conf lists. Only a child process can do
// that: Go without cgo knows no NSS modules.
//
// Where getent is missing or is of another kind (Alpine's), Go's own resolver
// reads resolv.conf and the hosts file, which on such hosts is all there is.
func lookupLibc(ctx context.Context, name string) ([]netip.Addr, error) {
	for _, path := range getentPaths {
		list, err := runGetent(ctx, path, name)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errGetentUsage) {
			continue
		}
		return list, err
	}
	resolver := net.Resolver{PreferGo: true}
	list, err := resolver.LookupNetIP(ctx, "ip6", name)
	if err != nil {
		return nil, fmt.Errorf("look up %s: %w", name, err)
	}
	return list, nil
}

var errGetentUsage = errors.New("getent does not know ahostsv6")

func runGetent(ctx context.Context, path, name string) ([]netip.Addr, error) {
	command := exec.CommandContext(ctx, path, "ahostsv6", name)
	var out, complaint bytes.Buffer
	command.Stdout, command.Stderr = &out, &complaint
	command.Env = append(os.Environ(), "LC_ALL=C")
	// A killed getent leaves no child behind; this is for a pipe that
	// something else might hold.
	command.WaitDelay = time.Second
	err := command.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return parseGetent(out.String())
	case ctx.Err() != nil:
		return nil, &net.DNSError{Err: "the system's resolver does not answer", Name: name, IsTimeout: true, UnwrapErr: ctx.Err()}
	case errors.As(err, &exit) && exit.ExitCode() == getentNotFound:
		return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	case errors.As(err, &exit):
		return nil, fmt.Errorf("run %s: %w: %s", path, errGetentUsage, strings.TrimSpace(complaint.String()))
	}
	return nil, fmt.Errorf("run %s: %w", path, err)
}
