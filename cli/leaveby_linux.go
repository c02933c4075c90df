package cli

import (
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// leaveBy makes connections leave by a device and no other. Who is believed for
// being at an address of the tunnel must be there: while the tunnel has no route,
// or a network announces one that is more specific, its router could answer. Before
// Linux 5.7 only root may choose; the routes decide there.
func leaveBy(device string) func(network, address string, raw syscall.RawConn) error {
	if device == "" {
		return nil
	}
	return func(_, _ string, raw syscall.RawConn) error {
		var failed error
		err := raw.Control(func(descriptor uintptr) { failed = unix.BindToDevice(int(descriptor), device) })
		if errors.Is(failed, unix.EPERM) {
			failed = nil
		}
		if err = errors.Join(err, failed); err != nil {
			return fmt.Errorf("leave by %s: %w", device, err)
		}
		return nil
	}
}
