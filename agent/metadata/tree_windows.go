package metadata

import (
	"errors"
	"os/exec"

	"golang.org/x/sys/windows"
)

// tree is a script with all processes that it started.
type tree struct{ job windows.Handle }

// startTree starts the command in a job, which its children inherit. Those that
// it starts before it is in the job, within microseconds, are not in it.
func startTree(cmd *exec.Cmd) (tree, error) {
	job, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return tree{}, err
	}
	if err := cmd.Start(); err != nil {
		windows.CloseHandle(job)
		return tree{}, err
	}
	process, err := windows.OpenProcess(windows.PROCESS_SET_QUOTA|windows.PROCESS_TERMINATE, false, uint32(cmd.Process.Pid))
	if err == nil {
		err = windows.AssignProcessToJobObject(job, process)
		windows.CloseHandle(process)
	}
	if err != nil && !ended(err) {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		windows.CloseHandle(job)
		return tree{}, err
	}
	return tree{job}, nil
}

// ended says that the process is gone already: it cannot be opened or put into
// a job any more.
func ended(err error) bool {
	return errors.Is(err, windows.ERROR_INVALID_PARAMETER) || errors.Is(err, windows.ERROR_ACCESS_DENIED)
}

// kill ends all of it.
func (t tree) kill() { _ = windows.TerminateJobObject(t.job, 1) }

func (t tree) release() { windows.CloseHandle(t.job) }
