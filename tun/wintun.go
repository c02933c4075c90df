package tun

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"syscall"
	"time"
)

// wintunSums are the SHA-256 sums of the library in the release Wintun 0.14.1,
// by GOARCH (wintun.net: wintun-0.14.1.zip, bin/amd64 and bin/arm64).
var wintunSums = map[string]string{
	"amd64": "e5da8447dc2c320edc0fc52fa01885c103de8c118481f683643cacc3220dafce",
	"arm64": "f7ba89005544be9d85231a9e0d5f23b2d15b3311667e2dad0debd344918a3f80",
}

// WintunSum is the SHA-256 sum that the library must have, in hexadecimal; ""
// for a GOARCH without one. Packages are checked against it.
func WintunSum(arch string) string { return wintunSums[arch] }

// ErrUntrusted: the driver's library is not the one that we ship.
var ErrUntrusted = errors.New("driver library not trusted")

// maxWintunName is AdapterNameMax of wintun.h less the terminating zero, in
// UTF-16 units; we count bytes, which are at least as many.
const maxWintunName = 127

func checkWintunName(name string) error {
	if name == "" || len(name) > maxWintunName {
		return &Error{
			Kind: ErrBadName, Name: name, Cause: fmt.Sprintf("the adapter name has %d bytes, 1 to %d are possible", len(name), maxWintunName),
			Remedy: "choose a short name, for example Causeway",
		}
	}
	return nil
}

// The errors of Windows that have a diagnosis (winerror.h, setupapi.h). They
// are numbers here, so that Linux can test what is made of them.
type winError uint32

const (
	errorFileNotFound         = winError(2)
	errorPathNotFound         = winError(3)
	errorAccessDenied         = winError(5)
	errorModNotFound          = winError(126)
	errorProcNotFound         = winError(127)
	errorAlreadyExists        = winError(183)
	errorBadExeFormat         = winError(193)
	errorInvalidImageHash     = winError(577)
	errorServiceDisabled      = winError(1058)
	errorServiceDoesNotExist  = winError(1060)
	errorServiceNotActive     = winError(1062)
	errorDriverBlocked        = winError(1275)
	errorPrivilegeNotHeld     = winError(1314)
	errorTimeout              = winError(1460)
	errorObjectAlreadyExists  = winError(5010)
	errorCertUntrustedRoot    = winError(0x800B0109) // CERT_E_UNTRUSTEDROOT
	errorInWow64              = winError(0xE0000235) // ERROR_IN_WOW64
	errorAuthenticodeDisallow = winError(0xE0000240) // ERROR_AUTHENTICODE_DISALLOWED
	errorDriverStoreAddFailed = winError(0xE0000247) // ERROR_DRIVER_STORE_ADD_FAILED
)

// diagnoseLibrary explains why the library at path cannot be used.
func diagnoseLibrary(name, path string, err error) *Error {
	e := &Error{Name: name, Err: err}
	code := codeOf(err)
	switch {
	case errors.Is(err, ErrUntrusted):
		e.Kind, e.Err = ErrUntrusted, nil
		e.Cause = err.Error()
		e.Remedy = "install Causeway again; if it comes back, find out who replaces the file"
	case errors.Is(err, fs.ErrNotExist) || code == errorFileNotFound || code == errorPathNotFound || code == errorModNotFound:
		e.Kind = ErrNoDevice
		e.Cause = path + " is missing"
		e.Remedy = "install Causeway again"
	case code == errorBadExeFormat:
		e.Kind = ErrNoDevice
		e.Cause = path + " is for another processor"
		e.Remedy = "install the Causeway of this processor"
	case errors.Is(err, fs.ErrPermission) || code == errorAccessDenied:
		e.Kind = ErrNoPermission
		e.Cause = "this user may not read " + path
		e.Remedy = "run as the system service, or mend the access list of the file"
	default:
		e.Kind = ErrNoDevice
		e.Cause = "Windows refused to load " + path
		e.Remedy = "see the system's error; a policy of allowed programs may forbid it"
	}
	return e
}

// diagnoseAdapter explains why the driver did not make the adapter.
func diagnoseAdapter(name string, err error) *Error {
	e := &Error{Name: name, Err: err}
	switch code := codeOf(err); code {
	case errorAccessDenied, errorPrivilegeNotHeld:
		e.Kind = ErrNoPermission
		e.Cause = "only administrators may make an adapter"
		e.Remedy = "run as the system service, or in a terminal that was opened as administrator"
	case errorAlreadyExists, errorObjectAlreadyExists:
		e.Kind = ErrNameTaken
		e.Cause = "another adapter has the name or the identifier"
		e.Remedy = "end the program that owns it, remove it in the device manager, or choose another name"
	case errorInvalidImageHash, errorDriverBlocked, errorCertUntrustedRoot, errorAuthenticodeDisallow:
		e.Kind = ErrNoDevice
		e.Cause = "Windows does not trust the driver's signature"
		e.Remedy = "install the pending updates of Windows (its root certificates), and allow the driver Wintun of WireGuard LLC if a policy blocks drivers"
	case errorInWow64:
		e.Kind = ErrNoDevice
		e.Cause = "this program is for another processor than Windows is"
		e.Remedy = "install the Causeway of this processor"
	case errorServiceDisabled, errorServiceDoesNotExist, errorServiceNotActive:
		e.Kind = ErrNoDevice
		e.Cause = "a service that sets up adapters does not run"
		e.Remedy = "start the services NetSetupSvc and DeviceInstall, and see that no policy disables them"
	case errorDriverStoreAddFailed, errorTimeout:
		e.Kind = ErrNoDevice
		e.Cause = "the driver could not be installed"
		e.Remedy = "wait for installations of other programs and updates to end, then restart the service; the details are in C:\\Windows\\INF\\setupapi.dev.log"
	case errorModNotFound, errorProcNotFound:
		e.Kind = ErrNoDevice
		e.Cause = "the library of the driver lacks a function"
		e.Remedy = "install Causeway again"
	default:
		e.Kind = ErrFailed
		e.Cause = "Windows refused to make the adapter"
		e.Remedy = "see the system's error, and C:\\Windows\\INF\\setupapi.dev.log"
	}
	return e
}

// codeOf is the number of a system's error, 0 if it has none.
func codeOf(err error) winError {
	var code syscall.Errno
	_ = errors.As(err, &code)
	return winError(code)
}

// bootPolicy spaces the attempts while Windows starts: the services that set up
// adapters may come after us, and say so in many ways. Later an error is an
// error at once.
type bootPolicy struct {
	window   time.Duration // of uptime at the first attempt
	first    time.Duration // between the first attempts
	steady   int           // how many of these
	factor   int           // by which the waits grow then
	most     time.Duration // that a wait becomes
	deadline time.Duration // after the first attempt
}

// atBoot: fifteen attempts a second apart serve a healthy machine (wireguard-windows
// has the same), five minutes one that is installing updates.
var atBoot = bootPolicy{window: 10 * time.Minute, first: time.Second, steady: 15, factor: 2, most: 30 * time.Second, deadline: 5 * time.Minute}

// wait is how long to wait after the attempt of that number (the first is 1),
// and false if it was the last. uptime is that of the system at the first one.
func (p bootPolicy) wait(attempt int, uptime, elapsed time.Duration, err *Error) (time.Duration, bool) {
	if uptime > p.window || !mayPass(err) {
		return 0, false
	}
	wait := p.first
	for range attempt - p.steady {
		wait = min(wait*time.Duration(p.factor), p.most)
	}
	return wait, elapsed+wait <= p.deadline
}

// mayPass tells the errors that a system which has just started may get over. A
// file that is missing is one when the driver says so, whose device may still
// come; the library itself does not come by waiting.
func mayPass(err *Error) bool {
	if errors.Is(err, ErrFailed) {
		return true
	}
	for _, kind := range []error{ErrNoPermission, ErrUntrusted, ErrBadName, ErrBadMTU} {
		if errors.Is(err, kind) {
			return false
		}
	}
	return !slices.Contains([]winError{errorInWow64, errorBadExeFormat, errorModNotFound, errorFileNotFound, errorPathNotFound}, codeOf(err.Err))
}
