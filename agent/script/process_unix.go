//go:build unix

package script

import (
	"os/exec"
	"syscall"
)

// tree is a process group. What makes itself a group of its own has left it.
type tree int

func startTree(cmd *exec.Cmd) (tree, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	return tree(cmd.Process.Pid), nil
}

// terminate and kill find nobody when all have ended.
func (t tree) terminate() { _ = syscall.Kill(-int(t), syscall.SIGTERM) }
func (t tree) kill()      { _ = syscall.Kill(-int(t), syscall.SIGKILL) }

// release lets those go on that are left.
func (t tree) release() {}
