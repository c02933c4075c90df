package config

import (
	"fmt"
	"strings"
	"text/tabwriter"
)

// Kind says what a setting's text must be.
type Kind int

// The kinds.
const (
	// Path is an absolute file path without control characters.
	Path Kind = iota + 1
	// InterfaceName is a network interface's name as the kernel takes it.
	InterfaceName
	// Choice is one of the setting's choices.
	Choice
)

// String names the kind for the documentation.
func (k Kind) String() string {
	switch k {
	case Path:
		return "path"
	case InterfaceName:
		return "name"
	case Choice:
		return "choice"
	}
	return "unknown"
}

// Setting describes one setting.
type Setting struct {
	// Name is the flag without dashes and the key in the file.
	Name string
	// Env is the environment variable.
	Env string
	// Default is the value as text when nobody sets one.
	Default string
	// Doc is one sentence without a full stop.
	Doc string
	// Kind decides how the text is checked.
	Kind Kind
	// Choices of a Choice.
	Choices []string
}

// The names of the settings.
const (
	StateDir  = "state-dir"
	Socket    = "socket"
	Interface = "interface"
	LogLevel  = "log-level"
	LogFormat = "log-format"
	Telemetry = "telemetry"
	Forwarder = "dns-forwarder"
)

// FileEnv is the environment variable that names the settings file, and
// FileFlag the flag. They are no settings: the file cannot name itself.
const (
	FileEnv  = "CAUSEWAY_CONFIG"
	FileFlag = "config"
)

// Schema lists the settings in the order in which they are documented.
func Schema() []Setting {
	return []Setting{
		{
			Name: StateDir, Env: "CAUSEWAY_STATE_DIR", Default: DefaultStateDir, Kind: Path,
			Doc: "directory (0700) of the credentials, keys and caches",
		},
		{
			Name: Socket, Env: "CAUSEWAY_SOCKET", Default: DefaultSocket, Kind: Path,
			Doc: "unix socket of the local API, also read by the causeway command",
		},
		{
			Name: Interface, Env: "CAUSEWAY_INTERFACE", Default: DefaultInterface, Kind: InterfaceName,
			Doc: "name of the TUN interface",
		},
		{
			Name: LogLevel, Env: "CAUSEWAY_LOG_LEVEL", Default: "info", Kind: Choice,
			Choices: []string{"debug", "info", "warn", "error"},
			Doc:     "least severe level that is logged",
		},
		{
			Name: LogFormat, Env: "CAUSEWAY_LOG_FORMAT", Default: "text", Kind: Choice,
			Choices: []string{"text", "json"},
			Doc:     "format of the log on standard error",
		},
		{
			Name: Telemetry, Env: "CAUSEWAY_TELEMETRY", Default: "false", Kind: Choice,
			Choices: []string{"false", "true"},
			Doc:     "tell the control plane how workspaces are reached; addresses and host names are hashed",
		},
		{
			Name: Forwarder, Env: "CAUSEWAY_DNS_FORWARDER", Default: "off", Kind: Choice,
			Choices: []string{"off", "on"},
			Doc:     "have the system itself ask causeway, also where that means changing resolv.conf or the dnsmasq of NetworkManager; names of others are passed on to the host's own name servers",
		},
	}
}

// find returns the setting of that name.
func find(name string) (Setting, bool) {
	for _, setting := range Schema() {
		if setting.Name == name {
			return setting, true
		}
	}
	return Setting{}, false
}

// Document renders the settings as a table for people.
func Document() string {
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "FLAG AND FILE KEY\tENVIRONMENT\tDEFAULT\tMEANING")
	for _, s := range Schema() {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", s.Name, s.Env, s.Default, s.Doc+s.limits())
	}
	// A strings.Builder takes every write.
	_ = table.Flush()
	fmt.Fprintf(&text, "\nThe first of flag, environment, file and default counts. The file is %s\n", DefaultFile)
	fmt.Fprintf(&text, "unless --%s or %s names another; YAML, one key for each line.\n", FileFlag, FileEnv)
	return text.String()
}

// limits says in the documentation which values are taken.
func (s Setting) limits() string {
	if s.Kind == Choice {
		return " (" + strings.Join(s.Choices, ", ") + ")"
	}
	return ""
}
