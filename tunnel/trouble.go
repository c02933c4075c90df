package tunnel

import (
	"errors"
	"io/fs"
)

// troubles makes a problem of each thing that is wrong on the host although it
// took the wanted state.
func troubles(trouble error) []Problem {
	if trouble == nil {
		return nil
	}
	all := []error{trouble}
	if joined, ok := trouble.(interface{ Unwrap() []error }); ok {
		all = joined.Unwrap()
	}
	problems := make([]Problem, 0, len(all))
	for _, one := range all {
		// What cannot be written names its file; all else is somebody's doing.
		remedy := "stop the program that the cause names, or have it leave our addresses, routes and suffix alone; it is tried again by itself"
		var file *fs.PathError
		if errors.As(one, &file) {
			remedy = "make writable what the cause names (a read-only mount, chattr +i or another tool that holds it may be in the way); it is tried again by itself"
		}
		problems = append(problems, Problem{CodeHost, one.Error(), remedy})
	}
	return problems
}
