package service

import (
	"fmt"
	"net"
	"strings"
	"time"
)

// managerTimeout bounds one message to the service manager.
const managerTimeout = time.Second

// notify tells systemd a state, such as "READY=1". Without the variable
// NOTIFY_SOCKET nobody listens, which is no error.
func notify(lookupEnv func(string) (string, bool), text string) error {
	path, ok := lookupEnv("NOTIFY_SOCKET")
	if !ok || path == "" {
		return nil
	}
	if strings.HasPrefix(path, "@") {
		path = "\x00" + path[1:] // an abstract socket
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	defer conn.Close()
	if err := conn.SetWriteDeadline(time.Now().Add(managerTimeout)); err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	if _, err := conn.Write([]byte(text)); err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	return nil
}
