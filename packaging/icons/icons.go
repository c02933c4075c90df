// Package icons holds the tray's icons. The SVG files are the sources;
// scripts/icons.sh draws the PNG and ICO files from them, which are committed.
package icons

import "embed"

//go:embed *.png *.ico
var files embed.FS

// File is one of the drawn files, or nil if there is none of that name.
func File(name string) []byte {
	data, err := files.ReadFile(name)
	if err != nil {
		return nil
	}
	return data
}
