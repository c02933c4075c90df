package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
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
	if err != nil {
		self = os.Args[0] // a container may have no /proc
	}
	signals := make(chan os.Signal, 64)
	signal.Notify(signals, syscall.SIGCHLD, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)
	defer signal.Stop(signals)
	child, err := os.StartProcess(self, os.Args, &os.ProcAttr{
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
		// A terminal's Ctrl-C comes to the first process alone, and once to the agent.
		Sys: &syscall.SysProcAttr{Setpgid: true},
	})
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
