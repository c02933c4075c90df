package platform

import (
	"cmp"
	"log/slog"
	"strings"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"

	"github.com/causewayhq/causeway/hosts"
	"github.com/causewayhq/causeway/netcfg"
	"github.com/causewayhq/causeway/nrpt"
)

// Options of New. Logger, StateDir and Adapter are needed, the rest has defaults.
type Options struct {
	Logger *slog.Logger
	// StateDir holds the journal. It must exist.
	StateDir string
	// Adapter is the GUID that our adapters have, and nobody else's.
	Adapter windows.GUID
	// Hosts is the hosts file; "" means the system's.
	Hosts string
	// Rules is the key below HKEY_CURRENT_USER that takes the place of the
	// machine's for name resolution rules; "" means the machine's own.
	Rules string
	// Restart ends the process so that the service manager starts it anew, when
	// Windows has resumed what was shut down. Nil: it goes on.
	Restart func()
}

var _ netcfg.OS = (*OS)(nil)

// New opens the journal and starts the hosts file's writer; it changes nothing on
// the host. The caller closes what it returns. A corrupt journal is kept aside,
// logged, and no reason to fail.
func New(options Options) (*OS, error) {
	store := nrpt.OpenRegistry(registry.LOCAL_MACHINE, "")
	if options.Rules != "" {
		store = nrpt.OpenRegistry(registry.CURRENT_USER, options.Rules)
	}
	return assemble(parts{
		logger: options.Logger, stateDir: options.StateDir, system: winSystem{}, file: cmp.Or(options.Hosts, hosts.SystemPath()),
		guid: strings.ToLower(options.Adapter.String()), restart: options.Restart,
		rules: func(journal *netcfg.Journal) rules {
			return nrpt.New(nrpt.Options{Store: store, System: store, Journal: journal, Logger: options.Logger})
		},
	})
}
