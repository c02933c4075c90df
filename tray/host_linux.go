package tray

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
)

// The names of the specification of status notifiers.
const (
	watcher     = "org.kde.StatusNotifierWatcher"
	watcherPath = "/StatusNotifierWatcher"
	itemPath    = "/StatusNotifierItem"
)

const (
	// hostGrace is how long a panel may take to come up: at login it starts
	// together with the tray.
	hostGrace = 10 * time.Second
	// registered is how long the library may take to register with a host.
	registered = time.Second
)

// watchHost says once if there is nobody to show the icon, and looks after the
// registration whenever a host comes. The library registers by itself, but misses
// a host that comes while it starts. Ready is called after each registration.
func (s *surroundings) watchHost(ctx context.Context, ready func()) {
	signals := make(chan *dbus.Signal, 16)
	s.bus.Signal(signals)
	defer s.bus.RemoveSignal(signals)
	err := s.bus.AddMatchSignalContext(ctx, dbus.WithMatchInterface("org.freedesktop.DBus"), dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, watcher))
	if err != nil {
		s.logger.Info("hosts of status notifiers are not watched", slog.Any("error", err))
	}
	grace, check := time.NewTimer(hostGrace), time.NewTimer(registered)
	defer grace.Stop()
	defer check.Stop()
	for {
		select {
		case signal := <-signals:
			if signal == nil {
				return
			}
			if signal.Name == "org.freedesktop.DBus.NameOwnerChanged" && len(signal.Body) == 3 && signal.Body[0] == watcher && signal.Body[2] != "" {
				check.Reset(registered)
			}
		case <-check.C:
			if s.hosted(ctx) {
				s.register(ctx)
				ready()
			}
		case <-grace.C:
			if !s.hosted(ctx) {
				s.noHost(ctx)
			}
		case <-ctx.Done():
			return
		}
	}
}

// noHost is said once.
func (s *surroundings) noHost(ctx context.Context) {
	n := note{
		title: "Causeway has no place for its icon",
		text:  "This desktop shows no status icons (GNOME needs the AppIndicator extension). The icon appears when it does. Meanwhile, in a terminal: causeway status --watch",
	}
	s.say(n.title + ". " + n.text)
	if err := s.notify(ctx, "host", n); err != nil {
		s.logger.Debug("notification not shown", slog.Any("error", err))
	}
}

func (s *surroundings) hosted(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, busLimit)
	defer cancel()
	var owned bool
	err := s.bus.BusObject().CallWithContext(ctx, "org.freedesktop.DBus.NameHasOwner", 0, watcher).Store(&owned)
	return err == nil && owned
}

// register adds the item if the library's registration went astray, on the
// library's own connection, which godbus shares.
func (s *surroundings) register(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, busLimit)
	defer cancel()
	shared, err := dbus.SessionBus()
	if err != nil || len(shared.Names()) == 0 {
		return
	}
	host := shared.Object(watcher, watcherPath)
	// With the limit, which the library's own way to read a property has not.
	var items []string
	err = host.CallWithContext(ctx, "org.freedesktop.DBus.Properties.Get", 0, watcher, "RegisteredStatusNotifierItems").Store(&items)
	if err != nil {
		s.logger.Debug("read the registered status notifiers", slog.Any("error", err))
		return
	}
	for _, name := range shared.Names() {
		if slices.ContainsFunc(items, func(item string) bool { return strings.HasPrefix(item, name) }) {
			return
		}
	}
	err = host.CallWithContext(ctx, watcher+".RegisterStatusNotifierItem", 0, itemPath).Err
	if err != nil && !errors.Is(err, context.Canceled) {
		s.logger.Info("register with the status notifier host", slog.Any("error", err))
	}
}
