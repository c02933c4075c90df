package config

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
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
	// Proxy, CAFile and HeaderCommand are of the settings file alone, and "" for
	// none. The proxy may hold a password.
	Proxy         string
	CAFile        string
	HeaderCommand string
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

// Source is where a value comes from.
type Source string

// The sources, from first to last.
const (
	FromFlag        Source = "flag"
	FromEnvironment Source = "environment"
	FromFile        Source = "file"
	FromSet         Source = "set" // causeway set, kept by the daemon
	FromDefault     Source = "default"
)

// Locked says that the daemon cannot change such a value: it stands where only
// an administrator changes it.
func (s Source) Locked() bool { return s != FromSet && s != FromDefault }

// Value is one setting's value as text, and where it comes from.
type Value struct {
	Setting
	Text   string
	Source Source
}

// Values are all settings' values, checked.
type Values struct {
	values []Value // in the order of the schema
	file   string
}

// Load finds each setting's value. Its errors name the flag, the variable, or
// the file, line and key at fault.
func Load(from Sources) (Daemon, error) {
	values, err := LoadValues(from)
	if err != nil {
		return Daemon{}, err
	}
	return values.Daemon()
}

// LoadValues is Load that also tells where each value comes from.
func LoadValues(from Sources) (Values, error) {
	path, named := DefaultFile, false
	if text, ok := from.LookupEnv(FileEnv); ok && text != "" {
		path, named = text, true
	}
	if text, ok := from.Flags[FileFlag]; ok {
		path, named = text, true
	}
	if err := checkPath(path); err != nil {
		return Values{}, fmt.Errorf("read config: %w", err)
	}
	file, err := readFile(path, named)
	if err != nil {
		return Values{}, err
	}
	loaded := Values{file: path}
	for _, setting := range Schema() {
		value, err := from.value(setting, file)
		if err != nil {
			return Values{}, err
		}
		loaded.values = append(loaded.values, value)
	}
	return loaded, nil
}

// value is the first of flag, environment, file and default.
func (from Sources) value(setting Setting, file map[string]fileValue) (Value, error) {
	if text, ok := from.Flags[setting.Name]; ok && !setting.FileOnly {
		if err := setting.check(text); err != nil {
			return Value{}, fmt.Errorf("read flag --%s: %w", setting.Name, err)
		}
		return Value{setting, text, FromFlag}, nil
	}
	// An empty variable is as good as none: unit files cannot unset one.
	if text, ok := from.LookupEnv(setting.Env); ok && text != "" && !setting.FileOnly {
		if err := setting.check(text); err != nil {
			return Value{}, fmt.Errorf("read environment variable %s: %w", setting.Env, err)
		}
		return Value{setting, text, FromEnvironment}, nil
	}
	if value, ok := file[setting.Name]; ok {
		return Value{setting, value.text, FromFile}, nil
	}
	return Value{setting, setting.Default, FromDefault}, nil
}

// All are the values in the order of the schema.
func (v Values) All() []Value { return slices.Clone(v.values) }

// Errors of CheckSet.
var (
	ErrUnknown = errors.New("there is no such setting")
	ErrLocked  = errors.New("it is set where only an administrator changes it")
	ErrNotLive = errors.New("it cannot be changed while the daemon runs")
)

// CheckSet says whether a value could be set in the running daemon.
func (v Values) CheckSet(name, text string) error {
	i := slices.IndexFunc(v.values, func(value Value) bool { return value.Name == name })
	switch {
	case i < 0:
		return fmt.Errorf("%w: %q%s", ErrUnknown, name, suggestion(name))
	case !v.values[i].Live:
		return ErrNotLive
	case v.values[i].Source.Locked():
		return fmt.Errorf("%w (%s)", ErrLocked, v.values[i].Source)
	}
	return v.values[i].check(text)
}

// With lays what was set over the defaults. What is not known, not live or not
// valid, as a later version may have kept it, is left out.
func (v Values) With(set map[string]string) Values {
	v.values = slices.Clone(v.values)
	for i, value := range v.values {
		if text, ok := set[value.Name]; ok && v.CheckSet(value.Name, text) == nil {
			v.values[i].Text, v.values[i].Source = text, FromSet
		}
	}
	return v
}

// Daemon are the values as the daemon uses them.
func (v Values) Daemon() (Daemon, error) {
	values := map[string]string{}
	for _, value := range v.values {
		values[value.Name] = value.Text
	}
	return assemble(values, v.file)
}

// ParseLevel takes a log level as the setting has it.
func ParseLevel(text string, level *slog.Level) error {
	setting, _ := find(LogLevel)
	if err := setting.check(text); err != nil {
		return err
	}
	return level.UnmarshalText([]byte(text))
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
		Proxy:     values[ProxyURL], CAFile: values[CAFile], HeaderCommand: values[Headers],
		File: path,
	}, nil
}
