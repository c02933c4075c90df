//go:build unix

package httpapi

import "strings"

// separators are what no name of a file holds.
const separators = "/\x00"

func fromRoot(elements []string) (string, error) { return below("/", elements) }

// split is a path as requests from the root have it.
func split(path string) []string {
	path = strings.Trim(path, "/")
	if path == "" {
		return []string{}
	}
	return strings.Split(path, "/")
}

// drives is not asked for where there is one root.
func drives() (listing, error) { return read("/", maxEntries) }
