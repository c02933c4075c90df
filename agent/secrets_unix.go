//go:build unix

package agent

import "io/fs"

// private says whether only the owner of a file can read or write it.
func private(info fs.FileInfo) bool { return info.Mode().Perm()&0o077 == 0 }
