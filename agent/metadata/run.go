package metadata

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

const (
	// maxOutput is how much of a script's output is told (docs of the protocol,
	// 5.6).
	maxOutput = 10 << 10
	// maxFailure bounds the words on what was wrong, in bytes.
	maxFailure = 1 << 10
	// pipeWait is how long output is awaited after the end of a script that left
	// others behind who hold its output open.
	pipeWait = 500 * time.Millisecond
)

// runner runs scripts as programs of the workspace.
type runner func(line string) (*exec.Cmd, func(), error)

// run runs a script to its end or for as long as it may take, and ends whatever
// of its process tree is left then: what is run each second must leave nothing
// behind. Only what made a session of its own, as daemons do, goes on.
func (r runner) run(ctx context.Context, script string, limit time.Duration) outcome {
	if strings.TrimSpace(script) == "" {
		return outcome{failure: "there is no script"}
	}
	cmd, cleanup, err := r(script)
	if err != nil {
		return outcome{failure: words(err)}
	}
	defer cleanup()
	output := &head{}
	cmd.Stdout, cmd.Stderr = output, output
	cmd.WaitDelay = pipeWait
	tree, err := startTree(cmd)
	if err != nil {
		return outcome{failure: words(fmt.Errorf("start script: %w", err))}
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	stopped := make(chan struct{})
	unhook := context.AfterFunc(ctx, func() {
		defer close(stopped)
		tree.kill()
	})
	err = cmd.Wait()
	late := !unhook()
	if late {
		<-stopped
	}
	tree.kill()
	tree.release()
	return output.outcome(err, late, limit)
}

// head keeps the begin of what is written to it, and how much that was. What is
// left behind may write until the very end.
type head struct {
	mu    sync.Mutex
	kept  []byte
	total int
}

func (h *head) Write(data []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.total += len(data)
	h.kept = append(h.kept, data[:min(len(data), maxOutput-len(h.kept))]...)
	return len(data), nil
}

func (h *head) outcome(err error, late bool, limit time.Duration) outcome {
	h.mu.Lock()
	defer h.mu.Unlock()
	var failures []string
	switch {
	case late:
		failures = append(failures, fmt.Sprintf("timed out after %s", limit))
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		failures = append(failures, words(fmt.Errorf("run script: %w", err)))
	}
	if h.total > maxOutput {
		failures = append(failures, fmt.Sprintf("output was cut to %d bytes of %d", maxOutput, h.total))
	}
	return outcome{value: text(h.kept), failure: strings.Join(failures, "; ")}
}

// text makes output fit to be told: what is not UTF-8 cannot be sent, and a zero
// byte cannot be stored.
func text(output []byte) string {
	output = bytes.ReplaceAll(bytes.TrimSpace(output), []byte{0}, nil)
	return cut(strings.ToValidUTF8(string(output), string(utf8.RuneError)), maxOutput)
}

func words(err error) string {
	return cut(strings.ToValidUTF8(err.Error(), string(utf8.RuneError)), maxFailure)
}

// cut shortens valid UTF-8 to a number of bytes, between characters.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}
