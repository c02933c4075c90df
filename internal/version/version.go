// Package version holds the version of this build.
package version

// Version is set by the linker (make build); "dev" otherwise.
var Version = "dev"
