package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/causewayhq/causeway/config"
	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

const (
	settingsFile    = "settings.json"
	settingsVersion = 1
	// maxSettings bounds the file, in bytes; it holds a handful of words.
	maxSettings = 64 << 10
	// maxMachineCA bounds the machine's file of authorities, in bytes: a system's
	// whole bundle has about 250 KB.
	maxMachineCA = 1 << 20
)

// storedSettings are what was set in the running daemon.
type storedSettings struct {
	Version int               `json:"version"`
	Values  map[string]string `json:"values"`
}

// machine is what the settings file says for every profile.
type machine struct {
	proxy   *url.URL
	ca      string
	headers string // the command
}

// loadSettings lays what was set over the settings of the start.
func (s *Service) loadSettings() error {
	path := filepath.Join(s.config.StateDir, settingsFile)
	stored, err := readSettings(path)
	if err != nil {
		return err
	}
	s.set = stored.Values
	if err := s.applySettings(); err != nil {
		return fail(FailureConfig, "see the settings with: causewayd --help", "%w", err)
	}
	options := s.options
	if s.machine.proxy, err = parseProxy(options.Proxy); err != nil {
		return fail(FailureConfig, "mend it in "+options.File, "read setting proxy: %w", err)
	}
	s.machine.headers = options.HeaderCommand
	if options.CAFile == "" {
		return nil
	}
	data, err := os.ReadFile(options.CAFile)
	if err == nil && len(data) > maxMachineCA {
		err = fmt.Errorf("larger than %d bytes", maxMachineCA)
	}
	if err == nil {
		err = checkCertificates(string(data))
	}
	if err != nil {
		return fail(FailureConfig, "mend it in "+options.File, "read setting ca-file %s: %w", options.CAFile, err)
	}
	s.machine.ca = string(data)
	return nil
}

func readSettings(path string) (storedSettings, error) {
	data, err := readPrivate(path, maxSettings)
	if errors.Is(err, fs.ErrNotExist) {
		return storedSettings{Values: map[string]string{}}, nil
	}
	var stored storedSettings
	switch {
	case err != nil:
	case len(data) > maxSettings:
		err = fmt.Errorf("%s is larger than %d bytes", path, maxSettings)
	default:
		err = json.Unmarshal(data, &stored)
	}
	if err == nil && stored.Version > settingsVersion {
		return stored, fail(FailureState, "upgrade causewayd, or move the file away", "read settings %s: format %d is newer than this program's %d", path, stored.Version, settingsVersion)
	}
	if err == nil && stored.Version != settingsVersion {
		err = fmt.Errorf("format %d is unknown", stored.Version)
	}
	if err != nil {
		return stored, fail(FailureState, fmt.Sprintf("move it away and set again what you need: mv %s %s.bad", path, path), "read settings %s: %w", path, err)
	}
	if stored.Values == nil {
		stored.Values = map[string]string{}
	}
	return stored, nil
}

// applySettings works out what counts now; the caller holds mu, or is alone.
func (s *Service) applySettings() error {
	options, err := s.config.Settings.With(s.set).Daemon()
	if err != nil {
		return err
	}
	s.options = options
	if s.config.LogLevel != nil && s.levelEnds == nil {
		s.config.LogLevel.Set(options.LogLevel)
	}
	return nil
}

// GetSettings tells every setting, where its value comes from, and whether it
// can be set.
func (s *Service) GetSettings(context.Context, *localv1.GetSettingsRequest) (*localv1.GetSettingsResponse, error) {
	s.mu.Lock()
	values := s.config.Settings.With(s.set).All()
	s.mu.Unlock()
	out := &localv1.GetSettingsResponse{}
	for _, value := range values {
		out.Settings = append(out.Settings, &localv1.Setting{
			Name: value.Name, Value: shown(value), Source: string(value.Source), Locked: value.Source.Locked(), Live: value.Live, Doc: value.Doc,
		})
	}
	return out, nil
}

// shown is a value without what may be secret in it: the password of a proxy,
// the arguments of a command.
func shown(value config.Value) string {
	switch value.Kind {
	case config.Proxy:
		return withoutUser(value.Text)
	case config.Command:
		if program, arguments, _ := strings.Cut(value.Text, " "); arguments != "" {
			return program + " " + hidden
		}
	case config.Path, config.InterfaceName, config.Choice, config.OptionalPath:
	}
	return value.Text
}

// SetSettings keeps what is set, all or nothing, and goes by it at once.
func (s *Service) SetSettings(ctx context.Context, in *localv1.SetSettingsRequest) (*localv1.SetSettingsResponse, error) {
	number, err := s.storeSettings(in)
	if err != nil {
		return nil, err
	}
	s.config.Logger.Info("settings changed", slog.Any("set", slices.Sorted(maps.Keys(in.GetValues()))), slog.Any("unset", in.GetUnset()))
	if err := s.settle(ctx, number); err != nil {
		return nil, fmt.Errorf("wait for the settings to count: %w", err)
	}
	return &localv1.SetSettingsResponse{}, nil
}

func (s *Service) storeSettings(in *localv1.SetSettingsRequest) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(in.GetValues())) {
		if err := s.config.Settings.CheckSet(name, in.GetValues()[name]); err != nil {
			return 0, refuseSetting(name, err)
		}
	}
	for _, name := range in.GetUnset() {
		// What is locked now may have been set before, and can be forgotten.
		if err := s.config.Settings.CheckSet(name, ""); errors.Is(err, config.ErrUnknown) || errors.Is(err, config.ErrNotLive) {
			return 0, refuseSetting(name, err)
		}
	}
	before := s.set
	next := maps.Clone(before)
	maps.Copy(next, in.GetValues())
	for _, name := range in.GetUnset() {
		delete(next, name)
	}
	data, err := json.MarshalIndent(storedSettings{Version: settingsVersion, Values: next}, "", "  ")
	if err == nil {
		err = writePrivate(filepath.Join(s.config.StateDir, settingsFile), data)
	}
	if err != nil {
		return 0, notKept(err)
	}
	s.set = next
	if err := s.applySettings(); err != nil {
		return 0, err
	}
	s.asked++
	s.wants.wake()
	s.changed.wake()
	return s.asked, nil
}

func refuseSetting(name string, err error) error {
	refused := &localapi.Error{
		Code: localapi.CodeUsage, Cause: fmt.Sprintf("set %s: %s", quoteForeign(name), inOneLine(err)),
		Remedy: "see: causeway get",
	}
	switch {
	case errors.Is(err, config.ErrLocked):
		refused.Code = localapi.CodePermission
		refused.Remedy = "change it there, and restart causewayd"
	case errors.Is(err, config.ErrNotLive):
		refused.Remedy = "write it into the settings file " + config.DefaultFile + ", and restart causewayd"
	}
	return refused
}

// onMachine fills in what the machine's settings say: a proxy where the profile
// names none, more authorities, and the headers of the header command.
func (s *Service) onMachine(p Profile) Profile {
	if p.Proxy == nil {
		p.Proxy = s.machine.proxy
	}
	if s.machine.ca != "" {
		p.CA = strings.TrimSpace(p.CA + "\n" + s.machine.ca)
	}
	if command := s.machine.headers; command != "" {
		access := p.URL
		p.more = func(ctx context.Context) (http.Header, error) {
			headers, err := headerCommand(ctx, command, access)
			return http.Header(headers), err
		}
	}
	return p
}
