package platform

import "time"

// Signal is what Windows tells services, and programs that ask for it, about
// power and sessions.
type Signal int

const (
	// Suspending: the machine is about to sleep or to hibernate.
	Suspending Signal = iota + 1
	// Resumed: it is awake again. Windows may say so twice.
	Resumed
	// LoggedOff: a user has ended the session.
	LoggedOff
	// Unlocked: a user is back at the machine.
	Unlocked
)

// signalBacklog is more than a suspend and a resume bring together.
const signalBacklog = 16

// The numbers by which the service manager tells (winsvc.h, winuser.h, wtsapi32.h).
const (
	serviceControlPowerEvent    = 0x0d
	serviceControlSessionChange = 0x0e
	pbtSuspend                  = 0x04 // PBT_APMSUSPEND
	pbtResumeSuspend            = 0x07 // PBT_APMRESUMESUSPEND
	pbtResumeAutomatic          = 0x12 // PBT_APMRESUMEAUTOMATIC
	wtsSessionLogoff            = 0x06
	wtsSessionUnlock            = 0x08
)

// FromService reads a request of the service manager: a power event, or a change
// of a session. Session 0 is the services' own and has no user.
func FromService(control, event, session uint32) (Signal, bool) {
	switch control {
	case serviceControlPowerEvent:
		return fromPower(event)
	case serviceControlSessionChange:
		switch {
		case session == 0:
		case event == wtsSessionLogoff:
			return LoggedOff, true
		case event == wtsSessionUnlock:
			return Unlocked, true
		}
	}
	return 0, false
}

// fromPower reads the kind of a power event.
func fromPower(event uint32) (Signal, bool) {
	switch event {
	case pbtSuspend:
		return Suspending, true
	case pbtResumeSuspend, pbtResumeAutomatic:
		return Resumed, true
	}
	return 0, false
}

// fastStartupWithin is how soon after the logoff Windows hibernates session 0
// when the user chose "shut down". A user who signs out and closes the lid takes
// longer.
const fastStartupWithin = 5 * time.Second

// power finds out that a resume is in truth the start of a machine that was
// "shut down": Windows then brings back the services as they were, while drivers
// and networks start anew, and what a service believes of them is wrong.
type power struct {
	loggedOff time.Time // zero: nobody has, or long ago
	shutDown  bool      // the suspend was a shutdown
}

// wake is what a resume means.
type wake int

const (
	noWake wake = iota
	// woke: the machine slept.
	woke
	// started: the machine was shut down; the service needs a clean start.
	started
)

// observe takes a signal and its moment. The service manager and Windows itself
// both tell of a suspend: what the first word means, the second does not change.
func (p *power) observe(signal Signal, at time.Time) wake {
	switch signal {
	case LoggedOff:
		p.loggedOff = at
	case Suspending:
		since := at.Sub(p.loggedOff)
		p.shutDown = p.shutDown || !p.loggedOff.IsZero() && since >= 0 && since < fastStartupWithin
	case Resumed:
		shutDown := p.shutDown
		*p = power{}
		if shutDown {
			return started
		}
		return woke
	case Unlocked:
		p.loggedOff = time.Time{} // somebody is there, so this is no shutdown
	}
	return noWake
}
