package tray

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// settings are the user's, on this machine.
type settings struct {
	connectAtLaunch bool
	autostart       bool // not in the file: the desktop's own entry is what counts
}

// settingsFile is the form on disk.
type settingsFile struct {
	Version         int  `json:"version"`
	ConnectAtLaunch bool `json:"connect_at_launch"`
}

// settingsVersion is the form's. A newer file is left alone.
const settingsVersion = 1

func settingsPath() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("find the settings of the tray: %w", err)
	}
	return filepath.Join(dir, "causeway", "tray.json"), nil
}

func readSettings(path string) (settings, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return settings{}, nil
	}
	if err != nil {
		return settings{}, fmt.Errorf("read the settings of the tray: %w", err)
	}
	var file settingsFile
	if err := json.Unmarshal(data, &file); err != nil {
		return settings{}, fmt.Errorf("read the settings of the tray: %s: %w", path, err)
	}
	if file.Version > settingsVersion {
		return settings{}, fmt.Errorf("read the settings of the tray: %s was written by a newer version", path)
	}
	return settings{connectAtLaunch: file.ConnectAtLaunch}, nil
}

func writeSettings(path string, s settings) error {
	if _, err := readSettings(path); err != nil {
		return err
	}
	data, err := json.MarshalIndent(settingsFile{Version: settingsVersion, ConnectAtLaunch: s.connectAtLaunch}, "", "  ")
	if err != nil {
		return fmt.Errorf("write the settings of the tray: %w", err)
	}
	return replaceFile(path, append(data, '\n'))
}

// replaceFile writes a file whole or not at all.
func replaceFile(path string, data []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	file, err := os.CreateTemp(dir, ".causeway-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = file.Write(data)
	err = errors.Join(err, file.Chmod(0o644), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		os.Remove(file.Name())
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
