package localapi

import (
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// peer asks the kernel who connected; on a client's side, who listens.
func peer(conn net.Conn) (Caller, error) {
	socket, ok := conn.(*net.UnixConn)
	if !ok {
		return Caller{}, errors.New("read peer credentials: not a unix socket")
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return Caller{}, fmt.Errorf("read peer credentials: %w", err)
	}
	var cred *unix.Xucred
	var pid int
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		if cred, credErr = unix.GetsockoptXucred(int(fd), unix.SOL_LOCAL, unix.LOCAL_PEERCRED); credErr != nil {
			return
		}
		pid, credErr = unix.GetsockoptInt(int(fd), unix.SOL_LOCAL, unix.LOCAL_PEERPID)
	}); err != nil {
		return Caller{}, fmt.Errorf("read peer credentials: %w", err)
	}
	if credErr != nil {
		return Caller{}, fmt.Errorf("read peer credentials: %w", credErr)
	}
	return Caller{UID: cred.Uid, PID: int32(pid)}, nil
}
