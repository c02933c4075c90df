package terminal

import "golang.org/x/sys/unix"

// zombie is SZOMB of sys/proc.h.
const zombie = 5

// processes asks the kernel for all of them. The session is not in what it
// says; it is asked for one by one.
func processes() map[int]entry {
	result := map[int]entry{}
	list, err := unix.SysctlKinfoProcSlice("kern.proc.all")
	if err != nil {
		return result
	}
	for _, each := range list {
		pid := int(each.Proc.P_pid)
		session, err := unix.Getsid(pid)
		if err != nil || each.Proc.P_stat == zombie {
			continue
		}
		started := uint64(each.Proc.P_starttime.Sec)*1e6 + uint64(each.Proc.P_starttime.Usec)
		result[pid] = entry{parent: int(each.Eproc.Ppid), session: session, started: started}
	}
	return result
}
