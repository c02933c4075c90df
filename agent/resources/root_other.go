//go:build !linux

package resources

import "io/fs"

// cgroupRoot is nil: this system has no control groups.
func cgroupRoot() fs.FS { return nil }
