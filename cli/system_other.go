//go:build !linux && !darwin && !windows

package cli

// here is a Unix that is none of the three.
var here = darwinSystem
