//go:build !linux

package tunnel

// environmentPlace is where the daemon's environment is set.
const environmentPlace = "the system's environment variables, or the shell that runs it"
