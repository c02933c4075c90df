package cli

import (
	"io/fs"
	"os"
)

// trustLink: to lay a link takes the rights of an administrator here.
func trustLink(string) error { return nil }

// keepOwner: a file has the owner of its directory's rules here.
func keepOwner(*os.File, fs.FileInfo) error { return nil }

// makeDir makes a directory, and those above it that are not there.
func makeDir(dir string) error { return os.MkdirAll(dir, 0o700) }

// knownHostsCommandWorks says that the system's ssh can ask a program for keys.
// That of Windows has not been seen to do it, and would refuse every key.
const knownHostsCommandWorks = false
