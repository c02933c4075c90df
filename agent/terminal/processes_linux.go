package terminal

import (
	"bytes"
	"os"
	"strconv"
)

// processes reads all of them from /proc (proc_pid_stat(5)).
func processes() map[int]entry {
	result := map[int]entry{}
	dir, err := os.Open("/proc")
	if err != nil {
		return result
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1) // what was read before an error counts
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + name + "/stat")
		if err != nil {
			continue // it has ended
		}
		// The second field is the name, in parentheses, and may hold anything.
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		if len(fields) < 20 || fields[0][0] == 'Z' || fields[0][0] == 'X' {
			continue
		}
		parent, _ := strconv.Atoi(string(fields[1]))
		session, _ := strconv.Atoi(string(fields[3]))
		started, _ := strconv.ParseUint(string(fields[19]), 10, 64)
		result[pid] = entry{parent: parent, session: session, started: started}
	}
	return result
}
