package cli

import (
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// limitUnacknowledged ends a connection whose data nobody has acknowledged for so
// long; by itself Linux tries for a quarter of an hour. It counts for probes, too,
// instead of their number.
func limitUnacknowledged(conn *net.TCPConn, limit time.Duration) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return fmt.Errorf("limit what is unacknowledged: %w", err)
	}
	var failed error
	err = raw.Control(func(descriptor uintptr) {
		failed = unix.SetsockoptInt(int(descriptor), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(limit.Milliseconds()))
	})
	if err = errors.Join(err, failed); err != nil {
		return fmt.Errorf("limit what is unacknowledged: %w", err)
	}
	return nil
}
