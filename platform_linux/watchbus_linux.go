package platform

import (
	"context"
	"errors"
	"time"

	"github.com/godbus/dbus/v5"

	netwatch "github.com/causewayhq/causeway/netcfg/watch"
)

// How long to wait for a bus that is not there, at first and at most.
const (
	busRetryFirst = time.Second
	busRetryMost  = 30 * time.Second
)

// Names of logind, from org.freedesktop.login1(5).
const (
	loginManager    = "org.freedesktop.login1.Manager"
	prepareForSleep = "PrepareForSleep"
)

// watchBus waits for resolvers to start anew, for their settings to change, and
// for the end of a sleep, through a connection of its own.
func (o *OS) watchBus(ctx context.Context, notices chan<- netwatch.Notice) {
	wait := busRetryFirst
	for {
		if lived := o.listenBus(ctx, notices); lived {
			wait = busRetryFirst
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = min(2*wait, busRetryMost)
	}
}

// listenBus reports whether it had a connection.
func (o *OS) listenBus(ctx context.Context, notices chan<- netwatch.Notice) bool {
	dialCtx, cancel := context.WithTimeout(ctx, busTimeout)
	defer cancel()
	conn, err := dialBus(dialCtx, o.options.Bus)
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	signals := make(chan *dbus.Signal, 16)
	conn.Signal(signals)
	var errs []error
	for _, name := range []string{resolveName, nmName} {
		errs = append(errs, conn.AddMatchSignalContext(dialCtx, dbus.WithMatchInterface(busName),
			dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, name)))
	}
	for _, path := range []dbus.ObjectPath{resolvePath, nmDNSPath} {
		errs = append(errs, conn.AddMatchSignalContext(dialCtx, dbus.WithMatchObjectPath(path),
			dbus.WithMatchInterface(busProperties), dbus.WithMatchMember("PropertiesChanged")))
	}
	errs = append(errs, conn.AddMatchSignalContext(dialCtx, dbus.WithMatchInterface(loginManager),
		dbus.WithMatchMember(prepareForSleep)))
	if errors.Join(errs...) != nil {
		return false
	}
	for {
		select {
		case <-ctx.Done():
			return true
		case s, ok := <-signals:
			if !ok {
				return true // the bus has gone
			}
			n := busNotice(s.Name, s.Body)
			if n == 0 {
				continue
			}
			select {
			case notices <- n:
			case <-ctx.Done():
				return true
			}
		}
	}
}

// busNotice reads a signal. A new owner of the name is a resolver that started;
// no owner is one that stopped, which changes how the host resolves as well.
func busNotice(name string, body []any) netwatch.Notice {
	switch name {
	case busName + ".NameOwnerChanged":
		if len(body) == 3 && (body[0] == resolveName || body[0] == nmName) {
			return netwatch.Resolver
		}
	case busProperties + ".PropertiesChanged":
		return netwatch.Own
	case loginManager + "." + prepareForSleep:
		// It comes before the sleep with true, and after it with false.
		if len(body) == 1 && body[0] == false {
			return netwatch.Wake
		}
	}
	return 0
}
