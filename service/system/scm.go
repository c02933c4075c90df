package system

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// settings are what Windows keeps of a service, as far as they are ours.
type settings struct {
	Command      string // program and arguments
	DisplayName  string
	Description  string
	Automatic    bool
	Delayed      bool // started minutes after the others
	Unrestricted bool // the service's own SID is in its token
	Dependencies []string
	Recovery     []time.Duration // a restart after each
	Reset        time.Duration   // without a failure, after which they begin anew
	NonCrash     bool            // recovery also of a stop with an exit code
	Preshutdown  time.Duration   // what a shutdown of the machine waits for the service
}

const (
	displayName = "Causeway"
	description = "Keeps this machine's tunnel to its remote workspaces, and their names."
	// recoveryReset: five minutes of work, and the next crash is a first one.
	recoveryReset = 5 * time.Minute
	// preshutdownLimit is longer than the daemon may take (service.ShutdownLimit)
	// and much shorter than Windows' own 180 s.
	preshutdownLimit = 25 * time.Second
	// ServiceFlag of "causewayd run" says that Windows' service manager runs it.
	// To find that out by itself a program looks at its parents, which fails in
	// containers and under Wine.
	ServiceFlag = "service"
)

// recovery is how soon after its failures the daemon is started anew: within a
// second at first, for a daemon that is away leaves names without an answer.
var recovery = []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second}

// wishedFor are services that should run before the daemon: the resolver and its
// rules, the IP helper, the network list. Windows refuses to start a service of
// which one is missing or disabled, as some policies have them, so only those
// count that can run.
var wishedFor = []string{"Dnscache", "iphlpsvc", "netprofm", "nsi", "Tcpip"}

// wanted are the settings for a program at that path. usable says whether a
// service exists and may be started.
func wanted(program string, usable func(name string) bool) settings {
	var dependencies []string
	for _, name := range wishedFor {
		if usable(name) {
			dependencies = append(dependencies, name)
		}
	}
	return settings{
		Command:     quoted(program) + " run --" + ServiceFlag,
		DisplayName: displayName, Description: description,
		Automatic: true, Unrestricted: true, Dependencies: dependencies,
		Recovery: recovery, Reset: recoveryReset, NonCrash: true, Preshutdown: preshutdownLimit,
	}
}

// quoted keeps a path with blanks from being read as another program's: of
// C:\Program Files\x Windows would try C:\Program first.
func quoted(path string) string {
	if strings.ContainsAny(path, " \t") {
		return `"` + path + `"`
	}
	return path
}

// change is one call that brings the settings nearer to what is wanted.
type change int

const (
	changeConfig change = iota
	changeDescription
	changeDelayed
	changeSID
	changeRecovery
	changeNonCrash
	changePreshutdown
)

// changes are the calls that are needed.
func (s settings) changes(found settings) []change {
	sameConfig := s.Command == found.Command && s.DisplayName == found.DisplayName && s.Automatic == found.Automatic &&
		slices.EqualFunc(s.Dependencies, found.Dependencies, strings.EqualFold)
	same := []bool{
		changeConfig:      sameConfig,
		changeDescription: s.Description == found.Description,
		changeDelayed:     s.Delayed == found.Delayed,
		changeSID:         s.Unrestricted == found.Unrestricted,
		changeRecovery:    slices.Equal(s.Recovery, found.Recovery) && s.Reset == found.Reset,
		changeNonCrash:    s.NonCrash == found.NonCrash,
		changePreshutdown: s.Preshutdown == found.Preshutdown,
	}
	var list []change
	for c, is := range same {
		if !is {
			list = append(list, change(c))
		}
	}
	return list
}

// words say what a change sets.
func (s settings) words(c change) string {
	switch c {
	case changeConfig:
		return fmt.Sprintf("set %s: started with the machine, after %s", s.Command, strings.Join(s.Dependencies, ", "))
	case changeDescription:
		return "set description"
	case changeDelayed:
		return "set start to be not delayed"
	case changeSID:
		return "set service SID to unrestricted"
	case changeRecovery:
		return fmt.Sprintf("set recovery: restart after %v, counted anew after %v", s.Recovery, s.Reset)
	case changeNonCrash:
		return "set recovery to act on an exit code as well"
	default:
		return fmt.Sprintf("set shutdown of Windows to wait %v for the service", s.Preshutdown)
	}
}
