//go:build unix

package sshd

import (
	"bufio"
	"os"
	"strings"
	"syscall"
)

// commandFlag makes the shell run one command.
const commandFlag = "-c"

// loginFlags make the shell a login shell.
var loginFlags = []string{"-l"}

// loginShell is the shell of the user database, else that of the environment,
// else the one that every system has.
func loginShell(uid string) string {
	if shell := shellFromDatabase("/etc/passwd", uid); shell != "" {
		return shell
	}
	if shell := os.Getenv("SHELL"); shell != "" {
		return shell
	}
	return "/bin/sh"
}

func shellFromDatabase(path, uid string) string {
	file, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		fields := strings.Split(lines.Text(), ":")
		if len(fields) == 7 && fields[2] == uid {
			return fields[6]
		}
	}
	return ""
}

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
