//go:build unix

package main

import "os"

// systemDataDir is where root keeps data; empty for others.
func systemDataDir() string {
	if os.Geteuid() == 0 {
		return "/var/lib/causeway-server"
	}
	return ""
}
