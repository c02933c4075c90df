package script

import (
	"errors"
	"fmt"
	"os/exec"
	"syscall"

	"golang.org/x/sys/windows"
)

// tree is a job, to which all belong that the script starts.
type tree windows.Handle

// jobExit is the exit code of what is ended by us.
const jobExit = 1

func startTree(cmd *exec.Cmd) (tree, error) {
	job, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return 0, fmt.Errorf("make job: %w", err)
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	// The console's Ctrl-C is none of the script's business.
	cmd.SysProcAttr.CreationFlags |= windows.CREATE_NEW_PROCESS_GROUP
	if err := cmd.Start(); err != nil {
		return 0, errors.Join(err, windows.CloseHandle(job))
	}
	if err := join(job, uint32(cmd.Process.Pid)); err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return 0, errors.Join(fmt.Errorf("add to job: %w", err), windows.CloseHandle(job))
	}
	return tree(job), nil
}

func join(job windows.Handle, id uint32) error {
	process, err := windows.OpenProcess(windows.PROCESS_SET_QUOTA|windows.PROCESS_TERMINATE, false, id)
	if err != nil {
		return err
	}
	return errors.Join(windows.AssignProcessToJobObject(job, process), windows.CloseHandle(process))
}

// terminate is nothing that can be asked for politely.
func (t tree) terminate() { t.kill() }

// kill finds nobody when all have ended.
func (t tree) kill() { _ = windows.TerminateJobObject(windows.Handle(t), jobExit) }

// release lets those go on that are left.
func (t tree) release() { _ = windows.CloseHandle(windows.Handle(t)) }
