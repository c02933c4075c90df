package doctor

import "io/fs"

// socketFile: a named pipe has no mode and no directories; who may connect to it
// is found out by connecting.
func socketFile(path string) Socket {
	return Socket{Path: path, Exists: true, Mode: fs.ModeNamedPipe | 0o666}
}
