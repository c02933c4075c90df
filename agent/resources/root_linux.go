package resources

import (
	"io/fs"
	"os"
)

// cgroupRoot is where the files of control groups are.
func cgroupRoot() fs.FS { return os.DirFS("/") }
