package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// isInit says that this is the first process of a container.
func isInit() bool { return os.Getpid() == 1 }

// asInit runs this program once more, as a child, and does what the first process
// of a container has to: it takes the exit status of every process that nobody
// else waits for, and hands on the signals that are meant for the program. The
// agent itself cannot do the first without taking from its sessions' programs
// what it waits for itself. The answer is the child's exit code.
func asInit() (int, error) {
	self, err := os.Executable()
	if err != nil { // a container may have no /proc
		if self, err = exec.LookPath(os.Args[0]); err != nil {
			return 0, fmt.Errorf("find the agent's program: %w", err)
		}
	}
	signals := make(chan os.Signal, 64)
	signal.Notify(signals, syscall.SIGCHLD, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)
	defer signal.Stop(signals)
	child, err := os.StartProcess(self, os.Args, &os.ProcAttr{Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}, Sys: ownGroup()})
	if err != nil {
		return 0, fmt.Errorf("start the agent below the container's first process: %w", err)
	}
	for each := range signals {
		if each != syscall.SIGCHLD {
			_ = syscall.Kill(child.Pid, each.(syscall.Signal)) // it is not waited for yet: the number is its own
			continue
		}
		if code, ended := reap(child.Pid); ended {
			return code, nil
		}
	}
	return 0, nil // it is never closed
}

// ownGroup makes the child a process group of its own, so that a terminal's Ctrl-C
// comes to the agent once. On a terminal it is the one in the foreground: another
// that reads from it, as the agent does for --token-file -, is stopped.
func ownGroup() *syscall.SysProcAttr {
	stdin := int(os.Stdin.Fd())
	_, err := unix.IoctlGetInt(stdin, unix.TIOCGPGRP) // it answers for the session's own terminal only
	return &syscall.SysProcAttr{Setpgid: true, Foreground: err == nil, Ctty: stdin}
}

// reap takes the status of all that have ended. One signal can stand for many.
func reap(child int) (code int, ended bool) {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		switch {
		case err == syscall.EINTR: //nolint:errorlint // it is the number itself
		case err != nil || pid <= 0:
			return code, ended
		case pid == child && status.Signaled():
			code, ended = 128+int(status.Signal()), true // as shells say it
		case pid == child:
			code, ended = status.ExitStatus(), true
		}
	}
}
