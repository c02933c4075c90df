package config

// The defaults of this operating system.
const (
	DefaultStateDir  = `/var/lib/causeway`
	DefaultFile      = `/etc/causeway/causeway.yaml`
	DefaultSocket    = `/run/causeway/causeway.sock`
	DefaultInterface = `causeway0`
)
