//go:build unix

package localapi

// What people do on this system to have the rights that a call needs.
const (
	runAsRoot   = "run the same command with sudo"
	signInAs    = "signing in with sudo gives you the tunnel"
	startDaemon = "start the daemon: sudo causewayd run (or systemctl start causewayd where it is installed as a service)"
	findServer  = "find out who serves it (sudo ss -xlp), or name the right socket with --socket"
)
