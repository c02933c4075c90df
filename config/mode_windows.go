package config

import "io/fs"

// checkWriters knows nothing here: access lists decide, of which the mode
// tells only whether the file is read-only.
func checkWriters(string, fs.FileInfo) error { return nil }
