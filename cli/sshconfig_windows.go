package cli

import (
	"io/fs"
	"os"
)

// trustLink: to lay a link takes the rights of an administrator here.
func trustLink(string) error { return nil }

// keepOwner: a file has the owner of its directory's rules here.
func keepOwner(*os.File, fs.FileInfo) error { return nil }
