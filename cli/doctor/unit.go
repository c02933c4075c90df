package doctor

import (
	"strconv"
	"strings"
)

// readUnit reads the output of systemctl show.
func readUnit(output string) Unit {
	unit := Unit{Known: true}
	code, status := "", 0
	for line := range strings.Lines(output) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch key {
		case "LoadState":
			unit.Load = value
		case "ActiveState":
			unit.Active = value
		case "SubState":
			unit.Sub = value
		case "Result":
			unit.Result = value
		case "UnitFileState":
			unit.Enabled = value
		case "ExecMainCode":
			code = value
		case "ExecMainStatus":
			status, _ = strconv.Atoi(value)
		case "NRestarts":
			unit.Restarts, _ = strconv.Atoi(value)
		case "Job":
			unit.Job = value != "" && value != "0"
		}
	}
	// The si_code of SIGCHLD, sigaction(2).
	switch code {
	case "1": // CLD_EXITED
		unit.Exit = status
	case "2", "3": // CLD_KILLED, CLD_DUMPED
		unit.Signal = status
	}
	return unit
}
