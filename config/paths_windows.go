package config

// The defaults of this operating system.
const (
	DefaultStateDir  = `C:\ProgramData\Causeway`
	DefaultFile      = `C:\ProgramData\Causeway\causeway.yaml`
	DefaultSocket    = `\\.\pipe\ProtectedPrefix\Administrators\Causeway`
	DefaultInterface = `Causeway`
)
