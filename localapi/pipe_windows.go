package localapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/Microsoft/go-winio"
	"golang.org/x/sys/windows"
)

// pipePrefix begins the name of every pipe of this machine.
const pipePrefix = `\\.\pipe\`

// pipeBuffer is the quota of a pipe in each direction, in bytes.
const pipeBuffer = 64 << 10

// Listen opens the pipe for [Serve]. A pipe that somebody serves is refused with
// [ErrServed], whoever that is: we are its first instance or none. Every user of
// this machine can connect, nobody from the network; see [Rule].
func Listen(path string) (net.Listener, error) {
	if err := checkPipe(path); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	listener, err := winio.ListenPipe(path, &winio.PipeConfig{
		SecurityDescriptor: apiSecurity.descriptor(), InputBufferSize: pipeBuffer, OutputBufferSize: pipeBuffer,
	})
	switch {
	case err == nil:
		return listener, nil
	case errors.Is(err, windows.ERROR_ACCESS_DENIED) && protected(path) && !windows.GetCurrentProcessToken().IsElevated():
		return nil, fmt.Errorf("listen on %s: only administrators may: %w", path, err)
	case errors.Is(err, windows.ERROR_ACCESS_DENIED), errors.Is(err, windows.ERROR_PIPE_BUSY), errors.Is(err, windows.ERROR_ALREADY_EXISTS):
		// The system says "access denied" of a name that has its first instance.
		return nil, fmt.Errorf("listen on %s: %w: %w", path, ErrServed, err)
	}
	return nil, fmt.Errorf("listen on %s: %w", path, err)
}

// protected says that only administrators can make a pipe of this name, so that
// nobody can take it before us.
func protected(path string) bool {
	const prefix = pipePrefix + `ProtectedPrefix\Administrators\`
	return len(path) > len(prefix) && strings.EqualFold(path[:len(prefix)], prefix)
}

func checkPipe(path string) error {
	if len(path) <= len(pipePrefix) || !strings.EqualFold(path[:len(pipePrefix)], pipePrefix) {
		return fmt.Errorf("it is not the name of a pipe of this machine, which begins with %s", pipePrefix)
	}
	return nil
}

// dialLocal connects to the pipe. The server learns who we are, and no more: it
// cannot act in our name.
func dialLocal(ctx context.Context, path string) (net.Conn, error) {
	if err := checkPipe(path); err != nil {
		return nil, err
	}
	return winio.DialPipeAccessImpLevel(ctx, path, clientAccess, winio.PipeImpLevelIdentification)
}

// hungUp tells an error that only says that the other end has gone.
func hungUp(err error) bool {
	return errors.Is(err, windows.ERROR_BROKEN_PIPE) || errors.Is(err, windows.ERROR_NO_DATA) ||
		errors.Is(err, windows.ERROR_PIPE_NOT_CONNECTED) || errors.Is(err, os.ErrClosed)
}

// trustServer refuses a pipe that belongs to neither LocalSystem, the
// administrators nor the caller. Who made the first instance owns the pipe.
func trustServer(conn net.Conn, path string) error {
	handle, err := pipeHandle(conn)
	if err != nil {
		return fmt.Errorf("connect to %s: %w", path, err)
	}
	descriptor, err := windows.GetSecurityInfo(handle, windows.SE_KERNEL_OBJECT, windows.OWNER_SECURITY_INFORMATION)
	if err != nil {
		return fmt.Errorf("connect to %s: read its owner: %w", path, err)
	}
	owner, _, err := descriptor.Owner()
	if err != nil {
		return fmt.Errorf("connect to %s: read its owner: %w", path, err)
	}
	own, err := CurrentUser()
	if err != nil {
		return fmt.Errorf("connect to %s: %w", path, err)
	}
	if !trustedOwner(owner.String(), own) {
		return &Error{
			Code:   CodePermission,
			Cause:  fmt.Sprintf("connect to %s: the pipe belongs to %s, which is neither the system, the administrators nor you", path, owner),
			Remedy: findServer,
		}
	}
	return nil
}

// CurrentUser is the user that this process runs as.
func CurrentUser() (User, error) {
	user, err := windows.GetCurrentProcessToken().GetTokenUser()
	if err != nil {
		return User{}, fmt.Errorf("read own user: %w", err)
	}
	return User{SID: user.User.Sid.String()}, nil
}

// pipeHandle is the system's handle of a connection of ours.
func pipeHandle(conn net.Conn) (windows.Handle, error) {
	pipe, ok := conn.(interface{ Fd() uintptr })
	if !ok {
		return 0, errors.New("not a named pipe")
	}
	return windows.Handle(pipe.Fd()), nil
}
