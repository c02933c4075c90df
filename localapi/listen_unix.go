//go:build unix

package localapi

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const (
	// maxSocketPath is the smallest sun_path among our systems (macOS: 104
	// bytes with the closing zero). The kernel's own error says only "invalid
	// argument".
	maxSocketPath = 103
	// probeTimeout is how long a socket found at the path may take to accept
	// before it counts as served: a daemon with a full backlog is a daemon.
	probeTimeout = 2 * time.Second
)

// Listen opens the socket for [Serve]. Its directory is made if missing (0755),
// a socket that nobody serves is replaced, one that is served is refused with
// [ErrServed], and what is not a socket is left alone. Every local user can
// connect; see [Rule]. Closing the listener removes the socket.
func Listen(path string) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("listen on %s: the path is longer than %d bytes", path, maxSocketPath)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	if err := removeStale(path); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if errors.Is(err, syscall.EADDRINUSE) {
		// Somebody was faster than we between the two calls.
		return nil, fmt.Errorf("listen on %s: %w", path, ErrServed)
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		listener.Close()
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	return listener, nil
}

// dialLocal connects to the socket.
func dialLocal(ctx context.Context, path string) (net.Conn, error) {
	var dialer net.Dialer
	return dialer.DialContext(ctx, "unix", path)
}

// hungUp tells an error that only says that the other end has gone.
func hungUp(error) bool { return false }

// trustServer refuses a server that is neither root's nor the caller's own.
func trustServer(conn net.Conn, path string) error {
	server, err := peer(conn)
	if err != nil {
		return fmt.Errorf("connect to %s: %w", path, err)
	}
	if own := os.Geteuid(); server.UID != 0 && int(server.UID) != own {
		return &Error{
			Code:   CodePermission,
			Cause:  fmt.Sprintf("connect to %s: it is served by uid %d, which is neither root nor you", path, server.UID),
			Remedy: findServer,
		}
	}
	return nil
}

// CurrentUser is the user that this process runs as.
func CurrentUser() (User, error) { return User{UID: uint32(os.Geteuid())}, nil }

func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("it exists and is not a socket")
	}
	conn, err := net.DialTimeout("unix", path, probeTimeout)
	if err == nil {
		conn.Close()
		return ErrServed
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("probe the socket there: %w", err)
	}
	return os.Remove(path)
}
