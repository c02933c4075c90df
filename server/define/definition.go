package define

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/causewayhq/causeway/server/store"
)

// FormatVersion is that of the documents that this package reads and writes.
const FormatVersion = 1

// What a definition may have. All of it travels in one message, of which the
// transport takes 4 MiB; a quarter of one is the document's, half of one is the
// secrets' (store.SecretsTotal).
const (
	// DocumentLimit bounds a document as it is written, in bytes.
	DocumentLimit = 256 << 10
	// EnvironmentCount bounds the variables: a login shell of a large company has
	// some 200.
	EnvironmentCount = 512
	// VariableLimit bounds the value of one variable, in bytes: Windows takes
	// 32,767 characters with the name.
	VariableLimit = 32_000
	// SecretCount bounds the secrets.
	SecretCount = 64
	// SecretLimit bounds the value of a secret that goes into a file, in bytes; one
	// that goes into the environment is a variable.
	SecretLimit = 64 << 10
	// ScriptCount bounds the scripts.
	ScriptCount = 64
	// ScriptLimit bounds what one script runs, in bytes: Linux takes 128 KiB for
	// one argument of a shell.
	ScriptLimit = 64 << 10
	// AppCount bounds the apps.
	AppCount = 64
	// MetadataCount bounds the keys that an agent measures; each costs a process
	// at its interval.
	MetadataCount = 128
	// MetadataScriptLimit bounds what measures one key, in bytes.
	MetadataScriptLimit = 16 << 10
	// VolumeCount bounds the volumes that are watched.
	VolumeCount = 16
)

const (
	nameLimit    = 64
	displayLimit = 128
	pathLimit    = 4096
	urlLimit     = 2048
)

// Times and counts that a definition may ask for, and what it gets by default.
const (
	scriptTimeoutMost   = 24 * time.Hour
	metadataFloor       = time.Second // the agent looks each second
	metadataMost        = 24 * time.Hour
	metadataTimeoutMost = time.Hour
	healthFloor         = time.Second // the agent looks each second
	healthMost          = time.Hour
	thresholdMost       = 100
	// MonitoringInterval and MonitoringDatapoints are those of a deployment that
	// does not say otherwise.
	MonitoringInterval   = 10 * time.Second
	MonitoringDatapoints = 20
	monitoringMost       = time.Hour
	datapointsMost       = 100
)

// Definition is what an agent is to be. The zero value is an agent that nobody
// has defined.
type Definition struct {
	Version        int               `json:"version"`
	Directory      string            `json:"directory,omitempty"`
	MOTDFile       string            `json:"motd_file,omitempty"`
	VSCodeProxyURI string            `json:"vscode_proxy_uri,omitempty"`
	Environment    map[string]string `json:"environment,omitempty"`
	Secrets        []Secret          `json:"secrets,omitempty"`
	Scripts        []Script          `json:"scripts,omitempty"`
	Apps           []App             `json:"apps,omitempty"`
	Metadata       []Metadata        `json:"metadata,omitempty"`
	Monitoring     *Monitoring       `json:"monitoring,omitempty"`
}

// Secret is a value that the agent puts into the environment, a file or both.
type Secret struct {
	Name string `json:"name"`
	Env  string `json:"env,omitempty"`
	File string `json:"file,omitempty"`
	// Value is what the document says, nil if it does not. It is no part of the
	// document that is kept, and of nothing that is printed.
	Value store.SecretValue `json:"-"`
}

// Script runs when the agent starts, when it ends, or by the clock.
type Script struct {
	Name        string `json:"name"`
	DisplayName string `json:"display_name,omitempty"`
	Run         string `json:"run"`
	OnStart     bool   `json:"on_start,omitempty"`
	OnStop      bool   `json:"on_stop,omitempty"`
	// Cron is minute, hour, day, month and weekday, with the second before them
	// where there are six.
	Cron string `json:"cron,omitempty"`
	// Timeout is zero for none.
	Timeout     Duration `json:"timeout,omitempty"`
	BlocksLogin bool     `json:"blocks_login,omitempty"`
	LogPath     string   `json:"log_path,omitempty"`
}

// App is something in the workspace that people open.
type App struct {
	Slug        string  `json:"slug"`
	DisplayName string  `json:"display_name,omitempty"`
	URL         string  `json:"url,omitempty"`
	Command     string  `json:"command,omitempty"`
	Icon        string  `json:"icon,omitempty"`
	External    bool    `json:"external,omitempty"`
	Subdomain   bool    `json:"subdomain,omitempty"`
	Sharing     string  `json:"sharing,omitempty"`
	Hidden      bool    `json:"hidden,omitempty"`
	Health      *Health `json:"health,omitempty"`
}

// Health is how the agent finds out whether an app works.
type Health struct {
	URL       string   `json:"url"`
	Interval  Duration `json:"interval"`
	Threshold int      `json:"threshold"`
}

// Metadata is something that the agent measures.
type Metadata struct {
	Key         string `json:"key"`
	DisplayName string `json:"display_name,omitempty"`
	Run         string `json:"run"`
	// Interval is zero for once.
	Interval Duration `json:"interval,omitempty"`
	// Timeout is zero for what the agent takes by itself.
	Timeout Duration `json:"timeout,omitempty"`
}

// Monitoring is what the agent reports of the workspace's resources.
type Monitoring struct {
	Memory     bool     `json:"memory,omitempty"`
	Volumes    []string `json:"volumes,omitempty"`
	Interval   Duration `json:"interval"`
	Datapoints int      `json:"datapoints"`
}

// Duration is a time span that JSON holds as text, such as "1m30s".
type Duration time.Duration

// MarshalJSON writes the text.
func (d Duration) MarshalJSON() ([]byte, error) {
	return json.Marshal(time.Duration(d).String())
}

// UnmarshalJSON reads the text.
func (d *Duration) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return fmt.Errorf("read duration: %w", err)
	}
	read, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("read duration: %w", err)
	}
	*d = Duration(read)
	return nil
}

// Load reads what Document has written: the form in which a definition is kept,
// without values of secrets. No document at all is an agent that nobody has defined.
func Load(document []byte) (Definition, error) {
	var definition Definition
	if len(document) == 0 {
		return definition, nil
	}
	if err := json.Unmarshal(document, &definition); err != nil {
		return Definition{}, fmt.Errorf("read kept definition: %w", err)
	}
	return definition, nil
}

// Document is the definition in the form in which it is kept: JSON, the same
// bytes for the same definition, without the values of secrets.
func (d Definition) Document() ([]byte, error) {
	document, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("write definition: %w", err)
	}
	return document, nil
}

// Change is what keeps the definition for an agent, whatever there was before.
func (d Definition) Change(by string) (store.DefinitionChange, error) {
	document, err := d.Document()
	change := store.DefinitionChange{Document: document, By: by, Values: map[string]store.SecretValue{}}
	for _, secret := range d.Secrets {
		change.Secrets = append(change.Secrets, secret.Name)
		if secret.Value != nil {
			change.Values[secret.Name] = secret.Value
		}
	}
	return change, err
}
