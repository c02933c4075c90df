//go:build !linux && !darwin && !windows

package localapi

import (
	"errors"
	"net"
)

// peer refuses: without the kernel's word on who calls, nobody may.
func peer(net.Conn) (Caller, error) {
	return Caller{}, errors.New("read peer credentials: this operating system does not tell them for a unix socket")
}
