// Package sshd is the SSH server of the workspace agent: shells, commands,
// terminals, SFTP, and forwards of TCP ports, unix sockets and the client's
// SSH agent.
//
// # Who may connect
//
// Nobody is asked for a credential. The server listens inside the tailnet only,
// where the control plane decides who gets a tunnel to the agent, and everything
// runs as the user that the agent runs as. Whatever a client offers (none, a
// password, a key) is accepted, so that programs that insist on offering
// something connect too.
//
// # Host key
//
// Clients of the protocol's other implementation meet an RSA key made from the
// names of the owner, the workspace and the agent. Such a key is stable, but
// whoever knows the three names has it, so it proves nothing, and users are told
// to switch the check off. Here the key is random ed25519, made once and stored
// by the agent: as stable, and worth checking. An agent that loses its state
// directory gets a new key, and OpenSSH will say so; that is the price.
//
// # Built on x/crypto/ssh
//
// The session type of github.com/gliderlabs/ssh rewrites line ends under a
// terminal, cannot send exit-signal, drops both directions of a forward at the
// first end of file, and shares remote forwards between connections. Each is
// visible to users, so the server stands on golang.org/x/crypto/ssh directly.
//
// # What ends a process
//
// A process that has a terminal gets SIGHUP when its session ends, as after
// closing a terminal window. A command without a terminal is not killed: its
// pipes are closed, and it goes on for as long as it likes. Either runs in a
// session (in the POSIX sense) of its own, and outlives the agent.
package sshd
