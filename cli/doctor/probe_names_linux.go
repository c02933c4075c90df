package doctor

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
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
)

// getentPaths are absolute: doctor may run as root.
var getentPaths = []string{"/usr/bin/getent", "/bin/getent"}

// lookupLibc asks as programs do that use libc, with all that nsswitch.conf
// lists. Go without cgo knows no NSS modules, so a child process has to.
func lookupLibc(ctx context.Context, name string) ([]netip.Addr, error) {
	for _, path := range getentPaths {
		command := exec.CommandContext(ctx, path, "ahostsv6", name)
		command.WaitDelay = time.Second
		var output bytes.Buffer
		command.Stdout = &output
		err := command.Run()
		var exit *exec.ExitError
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case ctx.Err() != nil:
			return nil, errNoAnswer
		case errors.As(err, &exit) && exit.ExitCode() == 2: // getent(1)
			return nil, errors.New("no such name")
		case err != nil:
			return nil, fmt.Errorf("run %s: %w", path, err)
		}
		var addrs []netip.Addr
		for line := range strings.Lines(output.String()) {
			text, _, _ := strings.Cut(line, " ")
			if addr, err := netip.ParseAddr(text); err == nil {
				addrs = append(addrs, addr)
			}
		}
		return slices.Compact(addrs), nil
	}
	return net.DefaultResolver.LookupNetIP(ctx, "ip6", name)
}

// busLimit bounds all that is asked of systemd-resolved.
const busLimit = 3 * time.Second

// Names of systemd-resolved on the bus, from org.freedesktop.resolve1(5).
const (
	resolveName = "org.freedesktop.resolve1"
	resolvePath = dbus.ObjectPath("/org/freedesktop/resolve1")
)

// askResolved reads what systemd-resolved has, which any user may.
func askResolved(ctx context.Context, interfaceName string) Resolved {
	ctx, cancel := context.WithTimeout(ctx, busLimit)
	defer cancel()
	conn, err := dbus.ConnectSystemBus(dbus.WithContext(ctx))
	if err != nil {
		return Resolved{Err: fmt.Errorf("connect to the system bus: %w", err)}
	}
	defer conn.Close()
	var r Resolved
	manager := conn.Object(resolveName, resolvePath)
	global, err := properties(ctx, manager, resolveName+".Manager")
	if err != nil {
		return Resolved{Err: fmt.Errorf("ask systemd-resolved: %w", err)}
	}
	r.GlobalTLS = text(global["DNSOverTLS"])
	r.TLSFiles = tlsFiles("/")
	link, err := net.InterfaceByName(interfaceName)
	if err != nil {
		return r
	}
	var path dbus.ObjectPath
	if err := manager.CallWithContext(ctx, resolveName+".Manager.GetLink", dbus.FlagNoAutoStart, int32(link.Index)).Store(&path); err != nil {
		return r
	}
	if own, err := properties(ctx, conn.Object(resolveName, path), resolveName+".Link"); err == nil {
		r.LinkTLS = text(own["DNSOverTLS"])
		r.readLink(own)
	}
	return r
}

func properties(ctx context.Context, object dbus.BusObject, of string) (map[string]dbus.Variant, error) {
	var all map[string]dbus.Variant
	err := object.CallWithContext(ctx, "org.freedesktop.DBus.Properties.GetAll", dbus.FlagNoAutoStart, of).Store(&all)
	return all, err
}

func text(value dbus.Variant) string {
	word, _ := value.Value().(string)
	return word
}

// readLink takes the servers and domains of a link: a(iay) and a(sb).
func (r *Resolved) readLink(own map[string]dbus.Variant) {
	var servers []struct {
		Family  int32
		Address []byte
	}
	var domains []struct {
		Domain  string
		Routing bool
	}
	if value, found := own["DNS"]; found && value.Store(&servers) == nil {
		for _, server := range servers {
			if addr, ok := netip.AddrFromSlice(server.Address); ok {
				r.Servers = append(r.Servers, addr)
			}
		}
	}
	if value, found := own["Domains"]; found && value.Store(&domains) == nil {
		for _, domain := range domains {
			name := strings.ToLower(domain.Domain)
			if domain.Routing {
				name = "~" + name
			}
			r.Domains = append(r.Domains, name)
		}
	}
}

// tlsFiles are the files of resolved.conf(5) that set DNSOverTLS to more than
// "no". A file in /etc hides one of the same name elsewhere.
func tlsFiles(root string) []string {
	byName := map[string]string{}
	for _, dir := range []string{"usr/lib", "usr/local/lib", "run", "etc"} {
		drops, _ := filepath.Glob(filepath.Join(root, dir, "systemd/resolved.conf.d/*.conf"))
		for _, path := range drops {
			byName[filepath.Base(path)] = path
		}
	}
	paths := []string{filepath.Join(root, "etc/systemd/resolved.conf")}
	for _, path := range byName {
		paths = append(paths, path)
	}
	var found []string
	for _, path := range paths {
		if content, err := os.ReadFile(path); err == nil && setsTLS(string(content)) {
			found = append(found, path)
		}
	}
	slices.Sort(found)
	return found
}

func setsTLS(content string) bool {
	for line := range strings.Lines(content) {
		key, value, found := strings.Cut(strings.TrimSpace(line), "=")
		value = strings.ToLower(strings.TrimSpace(value))
		if found && strings.TrimSpace(key) == "DNSOverTLS" && !slices.Contains([]string{"no", "false", "0", "off", "n", "f", ""}, value) {
			return true
		}
	}
	return false
}
