//go:build unix

package sshd

import "syscall"

// signalNumbers holds the signals that the protocol names (RFC 4254, 6.10).
var signalNumbers = map[string]syscall.Signal{
	"ABRT": syscall.SIGABRT, "ALRM": syscall.SIGALRM, "FPE": syscall.SIGFPE, "HUP": syscall.SIGHUP, "ILL": syscall.SIGILL,
	"INT": syscall.SIGINT, "KILL": syscall.SIGKILL, "PIPE": syscall.SIGPIPE, "QUIT": syscall.SIGQUIT, "SEGV": syscall.SIGSEGV,
	"TERM": syscall.SIGTERM, "USR1": syscall.SIGUSR1, "USR2": syscall.SIGUSR2,
}

// signalName is the protocol's name; of a signal that it has no name for, what
// OpenSSH's server says of one.
func signalName(number syscall.Signal) string {
	for name, candidate := range signalNumbers {
		if candidate == number {
			return name
		}
	}
	return "SIG@openssh.com"
}
