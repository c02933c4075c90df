package doctor

import "strings"

// readUnit reads the output of systemctl show.
func readUnit(output string) Unit {
	unit := Unit{Known: true}
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
		case "Job":
			unit.Job = value != "" && value != "0"
		}
	}
	return unit
}
