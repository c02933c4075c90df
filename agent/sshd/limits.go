package sshd

import "time"

// Limits on what clients may hold at once. Everything runs as one user, who
// could do the same with a program of their own: the limits keep a mistake, or
// a broken client, from costing the others.
const (
	// handshakeLimit bounds the time from accepting a connection to the end of its
	// handshake. OpenSSH's server allows two minutes, for somebody who types a
	// password; nobody types here.
	handshakeLimit = 30 * time.Second
	// maxHandshakes are connections in their handshake; one more drops the oldest,
	// so that those who stay silent keep nobody out. OpenSSH begins to drop at 10
	// and allows 100.
	maxHandshakes = 128
	// maxConnections are connections at all, each of some 0.3 MB with a
	// session on it (docs/reports/agent-bench.md), and of more while much is under way.
	maxConnections = 1024
	// maxChannels are the channels of a connection: sessions and forwarded
	// connections. A browser behind -D holds some hundred. The far side may send
	// 2 MiB into each before anybody has read them (x/crypto/ssh), which makes 1 GiB
	// at the very most; what goes out waits in one buffer of 32 KiB per stream.
	maxChannels = 512
	// maxForwards are the listeners that a connection asks for with -R.
	maxForwards = 128
	// maxVariables and maxVariableBytes are of one session. OpenSSH's own client
	// sends a few dozen variables at most.
	maxVariables     = 1024
	maxVariableBytes = 1 << 20
	// maxHandles are the files and directories that an SFTP session has open. Each
	// is a descriptor of the agent; clients have a few open at once, a mount (sshfs)
	// as many as its programs.
	maxHandles = 1024
	// farewellLimit bounds how long a client is told why its connection ends.
	farewellLimit = time.Second
)
