// Package linux holds the daemon's systemd units, as packages bring them, and
// renders them for a program in another place.
package linux

import (
	"embed"
	"fmt"
	"path"
	"slices"
	"strings"
)

// Mark begins every unit that Units renders: what has it may be replaced and
// removed by causewayd.
const Mark = "# Written by causewayd install; causewayd uninstall removes it.\n"

// Where packages put the programs.
const (
	packagedDaemon = "/usr/bin/causewayd"
	packagedCLI    = "/usr/bin/causeway"
)

//go:embed causewayd.service causewayd-restore.service causeway-online.target causeway-wait-online.service
var files embed.FS

// needCLI are the units that run the causeway command, or need one that does.
var needCLI = []string{"causeway-online.target", "causeway-wait-online.service"}

// Names of all units, sorted.
func Names() []string {
	entries, err := files.ReadDir(".")
	if err != nil {
		panic(err) // what is embedded can be read
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// Units are the units for a daemon at that absolute path, by name; cli is the
// path of the causeway command, or "" where there is none, and no unit that
// needs it.
func Units(daemon, cli string) (map[string]string, error) {
	for _, program := range []string{daemon, cli} {
		if (program != "" || program == daemon) && (!path.IsAbs(program) || path.Clean(program) != program || strings.ContainsAny(program, " \t\n\"'\\%${}")) {
			return nil, fmt.Errorf("render units: %q is not a clean absolute path that a unit can hold", program)
		}
	}
	units := map[string]string{}
	for _, name := range Names() {
		if cli == "" && slices.Contains(needCLI, name) {
			continue
		}
		text, err := files.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("render units: %w", err)
		}
		replaced := strings.NewReplacer(packagedDaemon+" ", daemon+" ", packagedCLI+" ", cli+" ").Replace(string(text))
		units[name] = Mark + replaced
	}
	return units, nil
}
