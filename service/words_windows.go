package service

// What people do on this system.
const (
	runAsAdmin  = "run in a terminal that was opened as administrator: "
	asAdmin     = "as administrator: "
	stopService = "causewayd stop"
	daemonLog   = `C:\ProgramData\Causeway\Logs\causewayd.log`
	// moveState has the path of the state file twice.
	moveState = `move it away (move "%s" "%s.bad"), start causewayd and sign in again`
)
