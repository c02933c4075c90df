package config

import (
	"fmt"
	"log/slog"
)

// Daemon is causewayd's settings, checked.
type Daemon struct {
	StateDir  string
	Socket    string
	Interface string
	LogLevel  slog.Level
	LogFormat string // "text" or "json"
	Telemetry bool
	Forwarder bool
	// File is the settings file that was read, or would have been.
	File string
}

// Sources are the places where values come from.
type Sources struct {
	// Flags holds only the flags that were given, by name without dashes;
	// FileFlag may be among them.
	Flags map[string]string
	// LookupEnv is os.LookupEnv.
	LookupEnv func(string) (string, bool)
}

// Load finds each setting's value. Its errors name the flag, the variable, or
// the file, line and key at fault.
func Load(from Sources) (Daemon, error) {
	path, named := DefaultFile, false
	if text, ok := from.LookupEnv(FileEnv); ok && text != "" {
		path, named = text, true
	}
	if text, ok := from.Flags[FileFlag]; ok {
		path, named = text, true
	}
	if err := checkPath(path); err != nil {
		return Daemon{}, fmt.Errorf("read config: %w", err)
	}
	file, err := readFile(path, named)
	if err != nil {
		return Daemon{}, err
	}
	values := map[string]string{}
	for _, setting := range Schema() {
		if values[setting.Name], err = from.value(setting, file); err != nil {
			return Daemon{}, err
		}
	}
	return assemble(values, path)
}

// value is the first of flag, environment, file and default.
func (from Sources) value(setting Setting, file map[string]fileValue) (string, error) {
	if text, ok := from.Flags[setting.Name]; ok {
		if err := setting.check(text); err != nil {
			return "", fmt.Errorf("read flag --%s: %w", setting.Name, err)
		}
		return text, nil
	}
	// An empty variable is as good as none: unit files cannot unset one.
	if text, ok := from.LookupEnv(setting.Env); ok && text != "" {
		if err := setting.check(text); err != nil {
			return "", fmt.Errorf("read environment variable %s: %w", setting.Env, err)
		}
		return text, nil
	}
	if value, ok := file[setting.Name]; ok {
		return value.text, nil
	}
	return setting.Default, nil
}

func assemble(values map[string]string, path string) (Daemon, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(values[LogLevel])); err != nil {
		return Daemon{}, fmt.Errorf("read setting %s: %w", LogLevel, err)
	}
	return Daemon{
		StateDir:  values[StateDir],
		Socket:    values[Socket],
		Interface: values[Interface],
		LogLevel:  level,
		LogFormat: values[LogFormat],
		Telemetry: values[Telemetry] == "true",
		Forwarder: values[Forwarder] == "on",
		File:      path,
	}, nil
}
