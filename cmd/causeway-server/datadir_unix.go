//go:build unix

package main

import (
	"os"
	"syscall"
)

// packagedDataDir is where the packages keep the data of their server; root's
// own servers too. A variable for tests.
var packagedDataDir = "/var/lib/causeway-server"

// systemDataDir is the system's place for root, and for the user whose it is:
// that of the packaged server. Empty for others.
func systemDataDir() string {
	if uid := os.Geteuid(); uid == 0 || uid == ownerOf(packagedDataDir) {
		return packagedDataDir
	}
	return ""
}

// ownerOf is the user that a directory belongs to, -1 for none.
func ownerOf(path string) int {
	info, err := os.Stat(path)
	if err != nil {
		return -1
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && info.IsDir() {
		return int(stat.Uid)
	}
	return -1
}

// packagedData is the data directory of this machine's packaged server, with
// the command before ours by which it may be used; empty where there is none.
func packagedData() (dir, become string) {
	if ownerOf(packagedDataDir) < 0 {
		return "", ""
	}
	if os.Geteuid() == 0 {
		return packagedDataDir, ""
	}
	return packagedDataDir, "sudo "
}
