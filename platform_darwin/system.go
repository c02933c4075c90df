package platform

import (
	"context"
	"io"
	"net/netip"

	"github.com/causewayhq/causeway/netcfg/watch"
)

// system is what is needed of macOS. The real one is in system_darwin.go; the
// tests have one that can be taken apart.
type system interface {
	// Links are all interfaces, with their addresses.
	Links() ([]link, error)
	// Routes is a dump of the routing table, in messages of route(4).
	Routes() ([]byte, error)
	// Request sends one message of route(4); the error is the kernel's answer.
	Request(message []byte) error
	// Listen opens a stream of the kernel's messages; each Read gives whole
	// ones, and Close ends a Read.
	Listen() (io.ReadCloser, error)
	// Run runs a program; its output is part of the error.
	Run(ctx context.Context, path string, args ...string) (output string, err error)
	// Resolve asks the system's resolver. It may ignore its context.
	Resolve(ctx context.Context, name string) ([]netip.Addr, error)
	Clocks() watch.Reading
}

// link is one network interface.
type link struct {
	index     int
	name      string
	mtu       int
	up        bool
	loopback  bool
	addresses []netip.Prefix
}
