//go:build unix

package metadata

import (
	"os/exec"
	"syscall"
)

// tree is a script with all processes that it started and that did not leave
// its process group.
type tree struct{ leader int }

// startTree starts the command in a session, and so in a group, of its own.
func startTree(cmd *exec.Cmd) (tree, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return tree{}, err
	}
	return tree{cmd.Process.Pid}, nil
}

// kill ends all of it. The number of a group is not given to another process
// while one of its members lives; when none does, there is nobody to hit within
// the moment in which this is called.
func (t tree) kill() { _ = syscall.Kill(-t.leader, syscall.SIGKILL) }

func (tree) release() {}
