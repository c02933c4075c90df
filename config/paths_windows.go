package config

// The defaults of this operating system.
const (
	DefaultStateDir  = `C:\ProgramData\Causeway`
	DefaultFile      = `C:\ProgramData\Causeway\causeway.yaml`
	DefaultSocket    = `C:\ProgramData\Causeway\causeway.sock`
	DefaultInterface = `Causeway`
)
