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
// Unix microseconds, and what it is. A file of the same name and ".at" says at
// which the process kills itself: how many lines do not count, the how many-th of
// its kind after those, and what it is. Without one it never does. Both can change
// while it runs.
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
	text := when + difference(before, after)
	content, err := addLine(path, text)
	if err != nil {
		panic(err)
	}
	asked, err := os.ReadFile(path + ".at")
	if err != nil {
		return
	}
	if isAsked(string(asked), content, text) {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

// isAsked tells whether the last line of the content is the one asked for. Its
// number alone would not do: not every run has the same steps before it.
func isAsked(asked, content, text string) bool {
	fields := strings.SplitN(asked, " ", 3)
	if len(fields) != 3 || fields[2] != text {
		return false
	}
	from, fromErr := strconv.Atoi(fields[0])
	nth, nthErr := strconv.Atoi(fields[1])
	if fromErr != nil || nthErr != nil {
		return false
	}
	for line := range strings.Lines(content) {
		_, found, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if from--; from < 0 && found == text {
			nth--
		}
	}
	return nth == 0
}

// addLine returns all lines that the file has then.
func addLine(path, line string) (string, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	defer file.Close()
	if _, err := fmt.Fprintln(file, time.Now().UnixMicro(), line); err != nil {
		return "", err
	}
	content, err := os.ReadFile(path)
	return string(content), err
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
