package main

import (
	"os"
	"path/filepath"
)

// systemDataDir is in the user's profile: elevation does not change the user.
func systemDataDir() string {
	base, err := os.UserConfigDir()
	if err != nil {
		return ""
	}
	return filepath.Join(base, "causeway-server")
}

// packagedData: there is no package with a service of its own.
func packagedData() (dir, become string) { return "", "" }
