//go:build !linux

package httpapi

import psnet "github.com/shirou/gopsutil/v4/net"

// connections lists sockets; on macOS it runs the system's lsof.
var connections = psnet.ConnectionsWithContext
