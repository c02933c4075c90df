package system

import "github.com/causewayhq/causeway/packaging/darwin"

// What people do on this system.
const (
	asRoot        = "sudo "
	seeLog        = "its log: " + darwin.LogDir + "/causewayd.log"
	refusedRemedy = "look at what launchd says: launchctl print system/" + darwin.Label
)
