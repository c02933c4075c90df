package sshd

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/shirou/gopsutil/v4/net"
	system "github.com/shirou/gopsutil/v4/process"
)

const (
	// processKnown is how long the process behind a port is remembered: looking
	// for it reads the open files of every process.
	processKnown = 10 * time.Second
	// processLimit bounds the search, and processPorts the ports that are
	// remembered.
	processLimit = 5 * time.Second
	processPorts = 1024
)

// processes finds out which program listens on a port of this host.
type processes struct {
	// find is findCommandLine, but for tests.
	find func(context.Context, netip.AddrPort) string

	mu    sync.Mutex // also: one search at a time
	known map[netip.AddrPort]knownProcess
}

type knownProcess struct {
	line string
	at   time.Time
}

// commandLine is that of the process that listens there, "" when it cannot be
// told.
func (p *processes) commandLine(ctx context.Context, address netip.AddrPort) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if ctx.Err() != nil {
		return "" // nobody waits for it any more, nor do those behind it
	}
	if known, found := p.known[address]; found && time.Since(known.at) < processKnown {
		return known.line
	}
	ctx, cancel := context.WithTimeout(ctx, processLimit)
	defer cancel()
	line := p.find(ctx, address)
	if ctx.Err() != nil {
		return line // it may be cut short
	}
	if p.known == nil || len(p.known) >= processPorts {
		p.known = map[netip.AddrPort]knownProcess{}
	}
	p.known[address] = knownProcess{line: line, at: time.Now()}
	return line
}

// findCommandLine asks the system. Processes of other users may be hidden.
func findCommandLine(ctx context.Context, address netip.AddrPort) string {
	connections, err := net.ConnectionsWithContext(ctx, "tcp")
	if err != nil {
		return ""
	}
	for _, each := range connections {
		if each.Status != "LISTEN" || each.Laddr.Port != uint32(address.Port()) || each.Pid == 0 {
			continue
		}
		owner, err := system.NewProcessWithContext(ctx, each.Pid)
		if err != nil {
			continue
		}
		if line, err := owner.CmdlineWithContext(ctx); err == nil {
			return line
		}
	}
	return ""
}
