package localapi

import (
	"errors"
	"fmt"
	"strings"

	"storj.io/drpc/drpcerr"
)

// ErrServed means that another process answers on the socket or pipe.
var ErrServed = errors.New("another process already serves it")

// Code classifies an error across the socket. Its numbers are the exit codes
// of the causeway command, which are published.
type Code uint64

// The codes.
const (
	CodeGeneric      Code = 1
	CodeUsage        Code = 2 // the request makes no sense
	CodeNotRunning   Code = 3 // no daemon answers
	CodeNotSignedIn  Code = 4 // no credentials, or the deployment refuses them
	CodePermission   Code = 5 // this caller may not
	CodeTimeout      Code = 6
	CodeNotFound     Code = 7 // no such name
	CodeDegraded     Code = 8 // up, but not as wanted; or not up
	CodeIncompatible Code = 9 // client and daemon do not fit
)

// Error is an error that people can act on. It crosses the socket whole.
type Error struct {
	Code   Code
	Cause  string // "verb object: cause"
	Remedy string // what to do about it; may be empty
}

// Error is the cause alone.
func (e *Error) Error() string { return e.Cause }

// remedySeparator stands between cause and remedy on the wire. It cannot occur
// in either, because toWire replaces line breaks.
const remedySeparator = "\n"

// toWire turns any error of a handler into one that dRPC carries.
func toWire(err error) error {
	if err == nil {
		return nil
	}
	plain := strings.NewReplacer("\n", " ", "\r", " ")
	var ours *Error
	if !errors.As(err, &ours) {
		code := drpcerr.Code(err)
		if code == 0 {
			code = uint64(CodeGeneric)
		}
		return drpcerr.WithCode(errors.New(plain.Replace(err.Error())), code)
	}
	text := plain.Replace(ours.Cause)
	if ours.Remedy != "" {
		text += remedySeparator + plain.Replace(ours.Remedy)
	}
	return drpcerr.WithCode(errors.New(text), uint64(ours.Code))
}

// fromWire is the reverse. Errors that carry no code did not come from a
// handler: the connection broke, or the daemon does not know the call.
func fromWire(err error) error {
	if err == nil {
		return nil
	}
	switch code := Code(drpcerr.Code(err)); {
	case code == 0:
		return err
	case code >= CodeGeneric && code <= CodeIncompatible:
		cause, remedy, _ := strings.Cut(err.Error(), remedySeparator)
		return &Error{Code: code, Cause: cause, Remedy: remedy}
	default:
		return &Error{
			Code:   CodeIncompatible,
			Cause:  fmt.Sprintf("call the daemon: it does not know this call: %s", err),
			Remedy: "restart causewayd, so that it is the same version as this program",
		}
	}
}
