package tray

import (
	"context"
	"errors"
	"fmt"
	"html"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/causewayhq/causeway/localapi"
)

// busName is owned by the one tray of a session.
const busName = "org.causeway.Tray"

// busLimit is for calls of other programs of the session.
const busLimit = 3 * time.Second

// surroundings are the desktop by way of its session bus.
type surroundings struct {
	bus    *dbus.Conn
	logger *slog.Logger
	say    func(string)

	mu     sync.Mutex
	notes  map[string]uint32 // the last notification of each topic
	markup *bool             // whether notifications are written in markup; nil: not asked yet
}

// openDesktop connects to the session and makes this process its one tray. Ended
// is called when the session ends.
func openDesktop(ctx context.Context, ended func(), o Options) (*surroundings, error) {
	bus, err := dbus.ConnectSessionBus()
	if err != nil {
		return nil, &localapi.Error{
			Code:   localapi.CodeGeneric,
			Cause:  fmt.Sprintf("connect to the session bus: %v", err),
			Remedy: "start it inside a desktop session; without one: causeway status --watch",
		}
	}
	reply, err := bus.RequestName(busName, dbus.NameFlagDoNotQueue)
	if err == nil && reply != dbus.RequestNameReplyPrimaryOwner {
		err = ErrRunning
	}
	if err != nil {
		bus.Close()
		return nil, fmt.Errorf("take the name %s: %w", busName, err)
	}
	context.AfterFunc(bus.Context(), ended)
	return &surroundings{bus: bus, logger: o.Logger, say: o.Say, notes: map[string]uint32{}}, nil
}

func (s *surroundings) close() { s.bus.Close() }

// notify speaks the Desktop Notifications Specification 1.2.
func (s *surroundings) notify(ctx context.Context, topic string, n note) error {
	ctx, cancel := context.WithTimeout(ctx, busLimit)
	defer cancel()
	service := s.bus.Object("org.freedesktop.Notifications", "/org/freedesktop/Notifications")
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.markup == nil {
		var can []string
		if err := service.CallWithContext(ctx, "org.freedesktop.Notifications.GetCapabilities", 0).Store(&can); err != nil {
			return fmt.Errorf("notify: %w", err)
		}
		markup := slices.Contains(can, "body-markup")
		s.markup = &markup
	}
	text := n.text
	if *s.markup {
		text = html.EscapeString(text)
	}
	urgency := byte(1)
	if n.urgent {
		urgency = 2
	}
	hints := map[string]dbus.Variant{"urgency": dbus.MakeVariant(urgency), "desktop-entry": dbus.MakeVariant("causeway-tray")}
	var id uint32
	err := service.CallWithContext(ctx, "org.freedesktop.Notifications.Notify", 0,
		"Causeway", s.notes[topic], "causeway-tray", n.title, text, []string{}, hints, int32(-1)).Store(&id)
	if err != nil {
		return fmt.Errorf("notify: %w", err)
	}
	s.notes[topic] = id
	return nil
}

// copy gives the text to a program that owns the clipboard for us, since that
// needs a window that lives on: the usual three, else KDE's own.
func (s *surroundings) copy(ctx context.Context, text string) error {
	type tool struct {
		display string
		argv    []string
	}
	for _, t := range []tool{
		{"WAYLAND_DISPLAY", []string{"wl-copy"}},
		{"DISPLAY", []string{"xclip", "-selection", "clipboard"}},
		{"DISPLAY", []string{"xsel", "--clipboard", "--input"}},
	} {
		program, err := exec.LookPath(t.argv[0])
		if err != nil || os.Getenv(t.display) == "" {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, busLimit)
		command := exec.CommandContext(ctx, program, t.argv[1:]...)
		command.Stdin = strings.NewReader(text)
		err = command.Run()
		cancel()
		if err == nil {
			return nil
		}
		s.logger.Info("clipboard program failed", slog.String("program", program), slog.Any("error", err))
	}
	ctx, cancel := context.WithTimeout(ctx, busLimit)
	defer cancel()
	klipper := s.bus.Object("org.kde.klipper", "/klipper")
	if err := klipper.CallWithContext(ctx, "org.kde.klipper.klipper.setClipboardContents", dbus.FlagNoAutoStart, text).Err; err != nil {
		return fmt.Errorf("copy to the clipboard: none of wl-copy, xclip, xsel and klipper is there: %w", err)
	}
	return nil
}

// terminals are the programs that show a terminal window, with what stands
// between their name and a command. The first two lead to what the user chose.
var terminals = [][]string{
	{"xdg-terminal-exec"},
	{"x-terminal-emulator", "-e"},
	{"gnome-terminal", "--"}, {"ptyxis", "--"}, {"kgx", "--"}, {"konsole", "-e"}, {"xfce4-terminal", "-x"}, {"mate-terminal", "-x"},
	{"kitty"}, {"alacritty", "-e"}, {"foot"}, {"wezterm", "start", "--"}, {"xterm", "-e"},
}

// In the window: a question whose answer is the last word, and a pause, so that
// an error can be read.
const (
	askFirst  = `printf '%s ' "$1"; shift; read -r answer && set -- "$@" -- "$answer"; `
	waitAfter = `"$@" || { printf '\n(ended with code %s; press Enter to close)' $?; read -r _; }`
)

func (s *surroundings) terminal(ctx context.Context, argv []string, question string) error {
	script := []string{"/bin/sh", "-c", waitAfter, "sh"}
	if question != "" {
		script = []string{"/bin/sh", "-c", askFirst + waitAfter, "sh", question}
	}
	script = append(script, argv...)
	candidates := terminals
	if chosen := strings.Fields(os.Getenv("TERMINAL")); len(chosen) > 0 {
		candidates = append([][]string{append(chosen, "-e")}, terminals...)
	}
	for _, candidate := range candidates {
		program, err := exec.LookPath(candidate[0])
		if err != nil {
			continue
		}
		if err := start(ctx, program, append(slices.Clone(candidate[1:]), script...)); err != nil {
			s.logger.Info("terminal failed", slog.String("program", program), slog.Any("error", err))
			continue
		}
		return nil
	}
	return &localapi.Error{
		Code: localapi.CodeGeneric, Cause: "open a terminal: no terminal program was found that works",
		Remedy: "run in one: " + strings.Join(argv, " "),
	}
}

func (s *surroundings) browse(ctx context.Context, url string) error {
	program, err := exec.LookPath("xdg-open")
	if err == nil {
		err = start(ctx, program, []string{url})
	}
	if err != nil {
		return &localapi.Error{Code: localapi.CodeGeneric, Cause: fmt.Sprintf("open the browser: %v", err), Remedy: "open " + url}
	}
	return nil
}

// settle is how long a program that is started may take to fail.
const settle = time.Second

// start runs a program that outlives the tray, and tells whether it failed at once.
func start(ctx context.Context, program string, args []string) error {
	command := exec.CommandContext(context.WithoutCancel(ctx), program, args...)
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := command.Start(); err != nil {
		return fmt.Errorf("start %s: %w", program, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	timer := time.NewTimer(settle)
	defer timer.Stop()
	select {
	case err := <-ended:
		if err != nil {
			return fmt.Errorf("run %s: %w", program, err)
		}
		return nil
	case <-timer.C:
	case <-ctx.Done():
	}
	return nil
}

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
	var items []string
	if err := host.StoreProperty(watcher+".RegisteredStatusNotifierItems", &items); err != nil {
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
