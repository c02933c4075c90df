package service

// What people do on this system.
const (
	runAsAdmin  = "run: sudo "
	asAdmin     = "as administrator: sudo "
	stopService = "sudo causewayd stop"
	daemonLog   = "/Library/Logs/Causeway/causewayd.log"
	// moveState has the path of the state file twice.
	moveState = "move it away and sign in again: mv %s %s.bad && sudo causewayd run"
)
