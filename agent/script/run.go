package script

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/causewayhq/causeway/proto/agentv2"
)

const (
	// killGrace is what a script has between the request to end and its end.
	killGrace = 2 * time.Second
	// pipesWait is how long after a script's end its output may come: who still
	// holds the pipes then is a process that it left behind, on purpose or not.
	pipesWait = 2 * time.Second
	// exitUnknown is reported when a signal ended a script, or nothing ran; a
	// shell says the same.
	exitUnknown = 255
)

// run runs a script once, unless it is running, and reports how it ended.
func (r *Runner) run(ctx context.Context, script Script, stage agentv2.Timing_Stage, limit time.Duration) Outcome {
	log := r.config.Logger.With(slog.String("script", script.name()), slog.String("stage", stage.String()))
	if !r.claim(script) {
		log.Debug("script is still running, not started again")
		return Succeeded
	}
	timing := &agentv2.Timing{ScriptId: script.ID[:], Stage: stage, Start: timestamppb.Now()}
	note := r.config.Output(script.Source, agentv2.Log_WARN)
	p, err := r.execute(ctx, script, limit, timing, note)
	defer r.releaseAfter(p, script)
	switch {
	case err != nil:
		timing.Status, timing.ExitCode = agentv2.Timing_EXIT_FAILURE, exitUnknown
		fmt.Fprintf(note, "causeway-agent: %v\n", err)
		log.Warn("script did not run", slog.String("error", err.Error()))
	case timing.GetStatus() == agentv2.Timing_OK:
		log.Debug("script ended")
	default:
		log.Warn("script ended", slog.String("status", timing.GetStatus().String()), slog.Int("code", int(timing.GetExitCode())))
	}
	if timing.GetEnd() == nil {
		timing.End = timestamppb.Now()
	}
	if script.ID != uuid.Nil {
		r.config.Completed(timing)
	}
	return outcomeOf(timing.GetStatus())
}

// outcomeOf takes what left pipes open for a success: it has started something.
func outcomeOf(status agentv2.Timing_Status) Outcome {
	switch status {
	case agentv2.Timing_TIMED_OUT:
		return TimedOut
	case agentv2.Timing_EXIT_FAILURE:
		return Failed
	case agentv2.Timing_OK, agentv2.Timing_PIPES_LEFT_OPEN:
	}
	return Succeeded
}

// execute fills in how the script ended; its error says that it did not begin.
// The process may go on, if it could not be ended.
func (r *Runner) execute(ctx context.Context, script Script, limit time.Duration, timing *agentv2.Timing, note io.Writer) (*process, error) {
	cmd, cleanup, err := r.config.Login.Command(script.Line)
	if err != nil {
		return nil, err
	}
	defer cleanup()
	data := filepath.Join(r.config.DataDirectory, script.Source.String())
	for _, directory := range []string{r.config.BinDirectory, data} {
		if err := os.MkdirAll(directory, 0o700); err != nil {
			fmt.Fprintf(note, "causeway-agent: %v\n", err)
		}
	}
	cmd.Env = append(cmd.Env, "CODER_SCRIPT_BIN_DIR="+r.config.BinDirectory, "CODER_SCRIPT_DATA_DIR="+data)
	outputs := r.outputs(script, note)
	p, err := start(cmd, outputs)
	if err != nil {
		return nil, err
	}
	defer p.tree.release()
	var over <-chan time.Time
	if limit > 0 {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		over = timer.C
	}
	killed := ""
	select {
	case <-p.exited:
	case <-over:
		timing.Status = agentv2.Timing_TIMED_OUT
		killed = fmt.Sprintf("ended after its limit of %s", limit)
	case <-ctx.Done():
		killed = "ended with the agent"
	}
	if killed != "" {
		if p.end(); !p.ended() {
			killed += ", or would be: it does not obey the agent's user, and goes on"
		}
	}
	timing.End = timestamppb.Now()
	if how := r.settle(p, timing); killed != "" {
		fmt.Fprintf(note, "causeway-agent: %s\n", killed)
	} else if how != "" {
		fmt.Fprintf(note, "causeway-agent: %s\n", how)
	}
	return p, nil
}

// settle waits for the rest of the output, fills in how the script ended, and
// gives words for what is not as it should be.
func (r *Runner) settle(p *process, timing *agentv2.Timing) string {
	timer := time.NewTimer(r.pipesWait)
	defer timer.Stop()
	open := false
	select {
	case <-p.drained:
	case <-timer.C:
		open = true
		r.leave(p)
	}
	code := exitUnknown
	if p.ended() {
		if known := p.cmd.ProcessState.ExitCode(); known >= 0 {
			code = known
		}
	}
	timing.ExitCode = int32(code)
	switch {
	case timing.GetStatus() != agentv2.Timing_OK:
	case code != 0:
		timing.Status = agentv2.Timing_EXIT_FAILURE
		return fmt.Sprintf("ended with exit code %d", code)
	case open:
		timing.Status = agentv2.Timing_PIPES_LEFT_OPEN
		return "ended, but a process that it started still holds its output; that one goes on"
	}
	return ""
}

// leave listens to what a script left behind for as long as it prints, so that
// nothing it does breaks, until Close.
func (r *Runner) leave(p *process) {
	r.mu.Lock()
	r.left[p] = true
	r.mu.Unlock()
	go func() {
		<-p.drained
		r.mu.Lock()
		delete(r.left, p)
		r.mu.Unlock()
	}()
}

// outputs are where the two streams of a script go.
func (r *Runner) outputs(script Script, note io.Writer) [2]io.WriteCloser {
	result := [2]io.WriteCloser{r.config.Output(script.Source, agentv2.Log_INFO), r.config.Output(script.Source, agentv2.Log_ERROR)}
	if script.LogPath == "" {
		return result
	}
	file, err := openLog(r.logPath(script.LogPath), len(result))
	if err != nil {
		fmt.Fprintf(note, "causeway-agent: %v\n", err)
		return result
	}
	for i, lines := range result {
		result[i] = both{lines, file}
	}
	return result
}

// both writes to lines, and to a file as long as that works.
type both struct {
	lines io.WriteCloser
	file  io.WriteCloser
}

func (b both) Write(data []byte) (int, error) {
	_, _ = b.file.Write(data) // a full disk is no reason to stop the script
	return b.lines.Write(data)
}

func (b both) Close() error {
	_ = b.file.Close()
	return b.lines.Close()
}
