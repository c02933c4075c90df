package service

import (
	"bytes"
	"context"
	"fmt"
	"net"
)

// interfaces are the network interfaces and their addresses.
func interfaces(context.Context) ([]byte, error) {
	list, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	for _, one := range list {
		fmt.Fprintf(&out, "%d %s mtu %d %s %s\n", one.Index, one.Name, one.MTU, one.Flags, one.HardwareAddr)
		addresses, err := one.Addrs()
		if err != nil {
			fmt.Fprintf(&out, "  %s\n", err)
		}
		for _, address := range addresses {
			fmt.Fprintf(&out, "  %s\n", address)
		}
	}
	return out.Bytes(), nil
}
