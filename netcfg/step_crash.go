//go:build crashmatrix

package netcfg

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// stepsEnv names the file that each step is added to, a line each: the time in
// Unix microseconds, and what it is. A file of the same name and ".at" holds the
// number of lines at which the process kills itself; without one it never does.
// Both can change while it runs.
const stepsEnv = "CAUSEWAY_STEPS"

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
	lines, err := addLine(path, when+difference(before, after))
	if err != nil {
		panic(err)
	}
	asked, err := os.ReadFile(path + ".at")
	if err != nil {
		return
	}
	if at, err := strconv.Atoi(strings.TrimSpace(string(asked))); err == nil && at == lines {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

// addLine returns how many lines the file has then.
func addLine(path, line string) (int, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	if _, err := fmt.Fprintln(file, time.Now().UnixMicro(), line); err != nil {
		return 0, err
	}
	content, err := os.ReadFile(path)
	return strings.Count(string(content), "\n"), err
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
