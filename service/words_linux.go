package service

// What people do on this system.
const (
	runAsAdmin  = "run: sudo "
	asAdmin     = "as administrator: sudo "
	stopService = "systemctl stop causewayd"
	daemonLog   = "journalctl -u causewayd"
	// moveState has the path of the state file twice.
	moveState = "move it away and sign in again: mv %s %s.bad && sudo causewayd run"
)
