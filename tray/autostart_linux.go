package tray

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// entryName is the name of the autostart entry, the user's and the system's.
const entryName = "causeway-tray.desktop"

// systemEntries is where an administrator has the tray started for everybody.
const systemEntries = "/etc/xdg/autostart"

func userEntry() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("find the autostart entries: %w", err)
	}
	return filepath.Join(dir, "autostart", entryName), nil
}

func (s *surroundings) autostart() bool {
	path, err := userEntry()
	if err != nil {
		return false
	}
	return autostartOf(path, filepath.Join(systemEntries, entryName))
}

// autostartOf says what the desktop makes of the entries: the user's, if there
// is one, else the system's.
func autostartOf(user, system string) bool {
	for _, path := range []string{user, system} {
		data, err := os.ReadFile(path)
		if err == nil {
			return !strings.Contains("\n"+string(data), "\nHidden=true")
		}
	}
	return false
}

func (s *surroundings) setAutostart(on bool) error { return setAutostartEntry(on) }

func setAutostartEntry(on bool) error {
	path, err := userEntry()
	if err != nil {
		return err
	}
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	return writeEntry(path, filepath.Join(systemEntries, entryName), program, on)
}

// writeEntry turns the user's start at login on or off. Off needs an entry too
// where the system has one.
func writeEntry(user, system, program string, on bool) error {
	if on {
		return replaceFile(user, []byte(entry(program)))
	}
	if _, err := os.Stat(system); err == nil {
		return replaceFile(user, []byte(entry(program)+"Hidden=true\n"))
	}
	if err := os.Remove(user); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the autostart entry: %w", err)
	}
	return nil
}

// entry is a desktop entry of version 1.4 of the specification.
func entry(program string) string {
	return `[Desktop Entry]
Version=1.4
Type=Application
Name=Causeway
Comment=Reach your workspaces by name
Exec=` + execQuote(program) + `
Icon=causeway-tray
Terminal=false
Categories=Network;
NoDisplay=true
X-GNOME-Autostart-enabled=true
`
}

// execQuote writes a program's path as the key Exec wants it: quoted, since a
// path may hold blanks; the quoting of strings comes on top.
func execQuote(path string) string {
	quoted := strings.NewReplacer(`\`, `\\\\`, `"`, `\\"`, "`", "\\\\`", `$`, `\\$`, `%`, `%%`).Replace(path)
	return `"` + quoted + `"`
}
