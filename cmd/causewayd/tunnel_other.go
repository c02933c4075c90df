//go:build unix && !linux && !darwin

package main

import (
	"fmt"

	"github.com/causewayhq/causeway/tun"
)

// openGiven refuses: this system has no tunnel of ours.
func openGiven(number, _ int) (tun.Device, error) {
	return nil, fmt.Errorf("open the manager's interface (descriptor %d): %w", number, errPlatform)
}
