package config

// The defaults of this operating system.
const (
	DefaultStateDir  = `/Library/Application Support/Causeway`
	DefaultFile      = `/Library/Application Support/Causeway/causeway.yaml`
	DefaultSocket    = `/var/run/causeway.sock`
	DefaultInterface = `utun`
)
