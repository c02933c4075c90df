package tray

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/causewayhq/causeway/localapi"
)

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
