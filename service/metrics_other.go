//go:build !linux

package service

// residentBytes is only known where the kernel tells it in a file.
func residentBytes() (uint64, bool) { return 0, false }
