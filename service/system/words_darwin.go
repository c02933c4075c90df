package system

import "github.com/causewayhq/causeway/packaging/darwin"

// What people do on this system.
const (
	asRoot        = "sudo "
	seeLog        = "its log: sudo tail -n 20 " + darwin.LogDir + "/causewayd.log"
	refusedRemedy = "look at what launchd says: launchctl print system/" + darwin.Label
)
