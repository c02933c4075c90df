package service

import "fmt"

// Failure is a numbered point at which the daemon gives up. The numbers are
// causewayd's exit codes: published, never reused.
type Failure int

// The failure points, in no order but their numbers'.
const (
	FailureConfig    Failure = 10 // a flag, a variable or the settings file
	FailureState     Failure = 11 // state directory or state file
	FailureSocket    Failure = 12 // socket of the local API
	FailureTUN       Failure = 13 // TUN device
	FailureNetwork   Failure = 14 // network configuration could not be undone
	FailurePrivilege Failure = 15 // not root, or without the capability
	FailureLocalAPI  Failure = 16 // the local API stopped while running
	FailureHang      Failure = 17 // the shutdown did not end
	FailurePlatform  Failure = 18 // this operating system is not supported yet
	FailureResumed   Failure = 19 // Windows resumed what was shut down

	FailureService      Failure = 20 // the operating system's service manager refused, or the service did not come up
	FailureNotInstalled Failure = 21 // the service is not installed
	FailureNotRunning   Failure = 22 // the service does not run
	FailureManager      Failure = 23 // the program that manages the tunnel over pipes
)

// Failures lists every failure point with one sentence each, for the help text.
func Failures() []struct {
	Failure Failure
	Text    string
} {
	return []struct {
		Failure Failure
		Text    string
	}{
		{FailureConfig, "a flag, an environment variable or the settings file is wrong"},
		{FailureState, "the state directory or a file in it cannot be used, or another daemon uses it"},
		{FailureSocket, "the socket of the local API cannot be served, or another process serves it"},
		{FailureTUN, "the TUN device cannot be made"},
		{FailureNetwork, "the network configuration could not be undone; run causewayd cleanup"},
		{FailurePrivilege, "the process is not root"},
		{FailureLocalAPI, "the local API stopped"},
		{FailureHang, "the shutdown hung; the stacks are on standard error"},
		{FailurePlatform, "this operating system is not supported yet"},
		{FailureResumed, "Windows resumed what was shut down (fast startup); the service manager starts it anew"},
		{FailureService, "the operating system's service manager refused, or the service did not come up"},
		{FailureNotInstalled, "the daemon is not installed as a service"},
		{FailureNotRunning, "the service does not run (causewayd status)"},
		{FailureManager, "the manager of the tunnel hung up without a stop, or broke the protocol"},
	}
}

// Error is a failure with what a person can do about it.
type Error struct {
	Failure Failure
	Remedy  string // may be empty
	Err     error
}

// Error is the cause alone.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

func fail(point Failure, remedy string, format string, args ...any) *Error {
	return &Error{Failure: point, Remedy: remedy, Err: fmt.Errorf(format, args...)}
}
