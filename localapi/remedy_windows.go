package localapi

// What people do on this system to have the rights that a call needs.
const (
	runAsRoot      = "run the same command in a terminal that was opened as administrator"
	becomeOperator = "signing in there makes you one, and so does: causeway operator add <your name>"
	startDaemon    = "start the daemon: sc start causewayd (or causewayd run as administrator); causeway doctor says why it does not run"
	findServer     = "end the program that serves it, or name the right pipe with --socket"
)
