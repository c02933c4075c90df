package platform

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"
)

// Names of the bus itself, from the D-Bus specification.
const (
	busName       = "org.freedesktop.DBus"
	busPath       = dbus.ObjectPath("/org/freedesktop/DBus")
	busPeer       = busName + ".Peer"
	busProperties = busName + ".Properties"

	errUnknownMethod  = busName + ".Error.UnknownMethod"
	errServiceUnknown = busName + ".Error.ServiceUnknown"
	errNameHasNoOwner = busName + ".Error.NameHasNoOwner"
	errInvalidArgs    = busName + ".Error.InvalidArgs"
)

// busTimeout bounds one D-Bus call. A healthy service answers within
// milliseconds; one that D-Bus has to start first needs a second or two.
const busTimeout = 5 * time.Second

// bus speaks to services on the system bus. It connects when first needed, and
// again when the connection is lost.
type bus struct {
	address string        // "" for the system's
	timeout time.Duration // of one call

	mu   sync.Mutex
	conn *dbus.Conn
	life int // counts the connections
}

// service is a name on the bus, with the word by which people know it.
type service struct{ name, word string }

// answer of a call: its body or the error.
type answer struct {
	body []any
	err  error
}

// call calls a service that runs, and starts none.
func (b *bus) call(ctx context.Context, to service, path dbus.ObjectPath, method string, args ...any) answer {
	return b.callWith(ctx, dbus.FlagNoAutoStart, to, path, method, args...)
}

func (b *bus) callWith(ctx context.Context, flags dbus.Flags, to service, path dbus.ObjectPath, method string, args ...any) answer {
	ctx, cancel := context.WithTimeout(ctx, b.timeout)
	defer cancel()
	short := method[strings.LastIndexByte(method, '.')+1:]
	conn, err := b.connection(ctx)
	if err == nil {
		reply := conn.Object(to.name, path).CallWithContext(ctx, method, flags, args...)
		if reply.Err == nil {
			return answer{body: reply.Body}
		}
		err = reply.Err
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		err = fmt.Errorf("no answer within %v: %w", b.timeout, err)
	case isDBusError(err, errServiceUnknown), isDBusError(err, errNameHasNoOwner):
		err = fmt.Errorf("%w: %w", errAbsent, err)
	}
	return answer{err: fmt.Errorf("call %s of %s: %w", short, to.word, err)}
}

// property reads one into a pointer.
func (b *bus) property(ctx context.Context, of service, path dbus.ObjectPath, on, name string, into any) error {
	answer := b.call(ctx, of, path, busProperties+".Get", on, name)
	if answer.err != nil {
		return answer.err
	}
	var value dbus.Variant
	if err := dbus.Store(answer.body, &value); err != nil {
		return fmt.Errorf("read property %s of %s: %w", name, of.word, err)
	}
	if err := dbus.Store([]any{value.Value()}, into); err != nil {
		return fmt.Errorf("read property %s of %s: %w", name, of.word, err)
	}
	return nil
}

// here fails with errElsewhere if the owner of the name is known to live in
// another network namespace than we.
func (b *bus) here(ctx context.Context, what service) error {
	owner := b.call(ctx, service{busName, "the bus"}, busPath, busName+".GetConnectionUnixProcessID", what.name)
	var pid uint32
	if owner.err != nil || dbus.Store(owner.body, &pid) != nil {
		return owner.err
	}
	if inOtherNetwork("/proc", pid) {
		return fmt.Errorf("use %s: %w", what.word, errElsewhere)
	}
	return nil
}

// inOtherNetwork tells that a process is known to live in another network
// namespace than we. The bus is reached through a file, so a daemon in a
// namespace or a container may well speak to the services of the host, to whom
// our interface's index means another interface.
func inOtherNetwork(proc string, pid uint32) bool {
	own, err := os.Readlink(filepath.Join(proc, "self/ns/net"))
	if err != nil {
		return false
	}
	its, err := os.Readlink(filepath.Join(proc, strconv.Itoa(int(pid)), "ns/net"))
	if errors.Is(err, fs.ErrNotExist) {
		// Another process namespace, unless this /proc hides all others
		// (ProtectProc=invisible): then nothing is known.
		_, hidden := os.Stat(filepath.Join(proc, "1"))
		return hidden == nil
	}
	return err == nil && its != own
}

// connection returns the one connection, made if needed.
func (b *bus) connection(ctx context.Context) (*dbus.Conn, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.conn != nil && b.conn.Connected() {
		return b.conn, nil
	}
	conn, err := dialBus(ctx, b.address)
	if err != nil {
		return nil, err
	}
	b.conn = conn
	b.life++
	return conn, nil
}

// lives counts the connections so far: what was said on an earlier one may have
// been said to an earlier service.
func (b *bus) lives() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.life
}

func (b *bus) close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.conn == nil {
		return nil
	}
	err := b.conn.Close()
	b.conn = nil
	return err
}

// dialBus connects within the context's time; the connection outlives it.
func dialBus(ctx context.Context, address string) (*dbus.Conn, error) {
	life, cancel := context.WithCancel(context.Background())
	// Ending the life closes the socket, which is the only way to interrupt
	// the greeting of a bus that does not answer.
	stop := context.AfterFunc(ctx, cancel)
	connect := func() (*dbus.Conn, error) { return dbus.Connect(address, dbus.WithContext(life)) }
	if address == "" {
		connect = func() (*dbus.Conn, error) { return dbus.ConnectSystemBus(dbus.WithContext(life)) }
	}
	conn, err := connect()
	late := !stop()
	if err == nil && !late {
		return conn, nil // its Close ends the life
	}
	cancel()
	if conn != nil {
		_ = conn.Close()
	}
	if late {
		return nil, fmt.Errorf("connect to the system bus: %w", ctx.Err())
	}
	return nil, fmt.Errorf("%w: connect to the system bus: %w", errAbsent, err)
}

func isDBusError(err error, name string) bool {
	var e dbus.Error
	return errors.As(err, &e) && e.Name == name
}
