package login

import (
	"os"
	"os/exec"
	"syscall"
)

// loginFlags make the shell a login shell, which Windows does not know.
var loginFlags []string

// shellCommand hands the line over as it is: cmd.exe reads its own quoting, and
// that of other programs would change it.
func shellCommand(shell, line string) *exec.Cmd {
	cmd := exec.Command(shell)
	cmd.SysProcAttr = &syscall.SysProcAttr{CmdLine: syscall.EscapeArg(shell) + ` /c ` + line}
	return cmd
}

func loginShell(string) string {
	if shell := os.Getenv("ComSpec"); shell != "" {
		return shell
	}
	return "cmd.exe"
}
