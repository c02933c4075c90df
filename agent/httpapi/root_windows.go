package httpapi

import (
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sys/windows"
)

// separators are what no name of a file holds; a colon begins another stream of
// the file or is part of a drive.
const separators = "/\\:*?\"<>|\x00"

// fromRoot begins at a drive, which is the first element, as C: or C:\ .
func fromRoot(elements []string) (string, error) {
	if len(elements) == 0 {
		return "", nil
	}
	drive := strings.TrimSuffix(elements[0], `\`)
	letter := byte(0)
	if len(drive) == 2 && drive[1] == ':' {
		letter = drive[0] | 0x20
	}
	if letter < 'a' || letter > 'z' {
		return "", fmt.Errorf("%w: %.40q is not a drive", errRequest, elements[0])
	}
	return below(drive+`\`, elements[1:])
}

// split is a path as requests from the root have it.
func split(path string) []string {
	volume := filepath.VolumeName(path)
	elements := []string{volume + `\`}
	if rest := strings.Trim(path[len(volume):], `\`); rest != "" {
		elements = append(elements, strings.Split(rest, `\`)...)
	}
	return elements
}

// drives are what is above all paths.
func drives() (listing, error) {
	mask, err := windows.GetLogicalDrives()
	if err != nil {
		return listing{}, fmt.Errorf("list drives: %w", err)
	}
	result := listing{AbsolutePath: []string{}, Contents: []entry{}, Limit: maxEntries}
	for letter := range 26 {
		if mask&(1<<letter) != 0 {
			name := string(rune('A'+letter)) + `:\`
			result.Contents = append(result.Contents, entry{Name: name, AbsolutePathString: name, IsDir: true})
		}
	}
	return result, nil
}
