package system

// What people do on this system.
const (
	asRoot        = "(in a terminal that was opened as administrator) "
	seeLog        = `its log: C:\ProgramData\Causeway\Logs\causewayd.log`
	refusedRemedy = "look at what Windows says: sc queryex causewayd"
)
