//go:build unix

package login

import (
	"bufio"
	"os"
	"os/exec"
	"strings"
)

// loginFlags make the shell a login shell.
var loginFlags = []string{"-l"}

func shellCommand(shell, line string) *exec.Cmd { return exec.Command(shell, "-c", line) }

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
