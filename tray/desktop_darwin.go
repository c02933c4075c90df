package tray

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/causewayhq/causeway/localapi"
)

// toolLimit is for the system's own programs.
const toolLimit = 5 * time.Second

// surroundings are the desktop by way of the system's programs.
type surroundings struct {
	lock   *os.File
	logger *slog.Logger
}

// openDesktop makes this process the one tray of its user.
func openDesktop(_ context.Context, _ func(), o Options) (*surroundings, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("find a place for the lock: %w", err)
	}
	dir = filepath.Join(dir, "causeway")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make a place for the lock: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "tray.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lock: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, ErrRunning
		}
		return nil, fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	return &surroundings{lock: lock, logger: o.Logger}, nil
}

func (s *surroundings) close() { s.lock.Close() }

// tool runs a program of the system.
func tool(ctx context.Context, input, program string, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, toolLimit)
	defer cancel()
	command := exec.CommandContext(ctx, program, args...)
	command.Stdin = strings.NewReader(input)
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("run %s: %w: %s", program, err, strings.TrimSpace(string(output)))
	}
	return nil
}

func (s *surroundings) notify(ctx context.Context, _ string, n note) error {
	return tool(ctx, "", "/usr/bin/osascript", "-e", "on run argv", "-e",
		"display notification (item 2 of argv) with title (item 1 of argv)", "-e", "end run", n.title, n.text)
}

func (s *surroundings) copy(ctx context.Context, text string) error {
	return tool(ctx, text, "/usr/bin/pbcopy")
}

func (s *surroundings) browse(ctx context.Context, url string) error {
	if err := tool(ctx, "", "/usr/bin/open", url); err != nil {
		return &localapi.Error{Code: localapi.CodeGeneric, Cause: fmt.Sprintf("open the browser: %v", err), Remedy: "open " + url}
	}
	return nil
}

// terminal has Terminal run a line of its shell.
func (s *surroundings) terminal(ctx context.Context, argv []string, question string) error {
	words := make([]string, 0, len(argv))
	for _, word := range argv {
		words = append(words, "'"+strings.ReplaceAll(word, "'", `'\''`)+"'")
	}
	line := strings.Join(words, " ")
	if question != "" {
		line = `printf '` + question + ` '; read -r answer && ` + line + ` -- "$answer"`
	}
	return tool(ctx, "", "/usr/bin/osascript", "-e", "on run argv", "-e", `tell application "Terminal"`, "-e", "activate", "-e",
		"do script (item 1 of argv)", "-e", "end tell", "-e", "end run", line)
}

const launchAgent = "io.causeway.tray"

func agentPath() (string, error) {
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find the launch agents: %w", err)
	}
	return filepath.Join(home, "Library", "LaunchAgents", launchAgent+".plist"), nil
}

func (s *surroundings) autostart() bool {
	path, err := agentPath()
	if err != nil {
		return false
	}
	_, err = os.Stat(path)
	return err == nil
}

func (s *surroundings) setAutostart(on bool) error { return setAutostartEntry(on) }

func setAutostartEntry(on bool) error {
	path, err := agentPath()
	if err != nil {
		return err
	}
	if !on {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the launch agent: %w", err)
		}
		return nil
	}
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	var escaped strings.Builder
	if err := xml.EscapeText(&escaped, []byte(program)); err != nil {
		return fmt.Errorf("write the launch agent: %w", err)
	}
	return replaceFile(path, []byte(`<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
	<key>Label</key><string>`+launchAgent+`</string>
	<key>ProgramArguments</key><array><string>`+escaped.String()+`</string></array>
	<key>RunAtLoad</key><true/>
	<key>LimitLoadToSessionType</key><string>Aqua</string>
</dict>
</plist>
`))
}
