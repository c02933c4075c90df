//go:build unix

package localapi

// What people do on this system to have the rights that a call needs.
const (
	runAsRoot      = "run the same command with sudo"
	becomeOperator = "signing in as administrator makes you one (sudo causeway login <url>), and so does: sudo causeway operator add <your name>"
	startDaemon    = "start the daemon: sudo causewayd run (or systemctl start causewayd where it is installed as a service); causeway doctor says why it does not run"
	findServer     = "find out who serves it (sudo ss -xlp), or name the right socket with --socket"
)
