//go:build crashmatrix

package netcfg

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
)

// What the crash matrix asks for: CAUSEWAY_STEPS is the file that each step
// is added to, a line each; CAUSEWAY_CRASH_AT the number of lines in it at which
// the process kills itself (0: never).
const (
	stepsEnv = "CAUSEWAY_STEPS"
	crashEnv = "CAUSEWAY_CRASH_AT"
)

var stepping sync.Mutex

// step tells that the journal is about to be written, or has been, and dies
// if it is the one that was asked for.
func step(when string, before, after []Change) {
	path := os.Getenv(stepsEnv)
	if path == "" {
		return
	}
	stepping.Lock()
	defer stepping.Unlock()
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		panic(err)
	}
	defer file.Close()
	fmt.Fprintf(file, "%s%s\n", when, difference(before, after))
	content, err := os.ReadFile(path)
	if err != nil {
		panic(err)
	}
	at, _ := strconv.Atoi(os.Getenv(crashEnv))
	lines := 0
	for _, b := range content {
		if b == '\n' {
			lines++
		}
	}
	if lines == at {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

func difference(before, after []Change) string {
	text := ""
	for _, c := range after {
		if !slices.Contains(before, c) {
			text += fmt.Sprintf(" +%s(%s)", c.Kind, c.Value)
		}
	}
	for _, c := range before {
		if !slices.Contains(after, c) {
			text += fmt.Sprintf(" -%s(%s)", c.Kind, c.Value)
		}
	}
	return text
}
