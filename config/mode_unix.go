//go:build unix

package config

import "io/fs"

// othersMayWrite says whether the mode lets group or world write.
func othersMayWrite(info fs.FileInfo) bool { return info.Mode().Perm()&0o022 != 0 }
