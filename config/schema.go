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
	// Proxy is the URL of an HTTP proxy; empty for none. It may hold a password.
	Proxy
	// Command is an absolute path and arguments, separated by spaces, without a
	// shell; empty for none.
	Command
	// OptionalPath is a Path, or empty for none.
	OptionalPath
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
	case Proxy:
		return "proxy"
	case Command:
		return "command"
	case OptionalPath:
		return "path"
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
	// Live may be changed while the daemon runs, and that is kept.
	Live bool
	// FileOnly stands in the settings file alone, which only an administrator
	// can write: no flag, which shows in the list of processes, and no variable.
	FileOnly bool
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
	ProxyURL  = "proxy"
	CAFile    = "ca-file"
	Headers   = "header-command"
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
			Choices: []string{"debug", "info", "warn", "error"}, Live: true,
			Doc: "least severe level that is logged",
		},
		{
			Name: LogFormat, Env: "CAUSEWAY_LOG_FORMAT", Default: "text", Kind: Choice,
			Choices: []string{"text", "json"},
			Doc:     "format of the log on standard error",
		},
		{
			Name: Telemetry, Env: "CAUSEWAY_TELEMETRY", Default: "false", Kind: Choice,
			Choices: []string{"false", "true"}, Live: true,
			Doc: "tell the control plane how workspaces are reached; addresses and host names are hashed",
		},
		{
			Name: Forwarder, Env: "CAUSEWAY_DNS_FORWARDER", Default: "off", Kind: Choice,
			Choices: []string{"off", "on"}, Live: true,
			Doc: "have the system itself ask causeway, also where that means changing resolv.conf or the dnsmasq of NetworkManager; names of others are passed on to the host's own name servers",
		},
		{
			Name: ProxyURL, Kind: Proxy, FileOnly: true,
			Doc: "HTTP proxy of control plane and relays, as http://host:port, for profiles that name none",
		},
		{
			Name: CAFile, Kind: OptionalPath, FileOnly: true,
			Doc: "certificate authorities (PEM) to trust besides the system's, for every profile",
		},
		{
			Name: Headers, Kind: Command, FileOnly: true,
			Doc: "program that prints headers for every request, one Name=Value on a line; it runs before connecting and after a refusal, without a shell, with the deployment in CAUSEWAY_URL",
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
		env, def := s.Env, s.Default
		if s.FileOnly {
			env, def = "(file only)", "none"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", s.Name, env, def, s.Doc+s.limits())
	}
	// A strings.Builder takes every write.
	_ = table.Flush()
	fmt.Fprintf(&text, "\nThe first of flag, environment, file, causeway set and default counts. The file is %s\n", DefaultFile)
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
