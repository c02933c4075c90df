package main

// purpose is what a command needs its rights for.
type purpose struct {
	command string // of causewayd
	orElse  string // another way to the same, for the remedy
	doing   string
	means   string // what the rights are for
}

var (
	toRun = purpose{
		"run", " (or systemctl start causewayd where it is installed as a service)", "start daemon",
		"make a network interface and set routes and name servers",
	}
	toCleanUp = purpose{"cleanup", "", "undo network configuration", "remove routes, addresses and name servers"}
)

// toOperate is for a command of "operator".
func toOperate(words string) purpose {
	return purpose{"operator " + words, "", "use operators", "read and change the state directory"}
}
