package agent

import (
	"context"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/agent/logs"
	"github.com/causewayhq/causeway/agent/script"
	"github.com/causewayhq/causeway/proto/agentv2"
)

const (
	// timingsLimit bounds reports of ended scripts that wait for the control
	// plane: that of a script each minute for the better part of a day.
	timingsLimit = 1024
	// haltLimit is how long scripts that are killed may take to end.
	haltLimit = 10 * time.Second
)

// scripts are the workspace's, with what they print and how they end.
type scripts struct {
	agent   *agent
	runner  *script.Runner
	lines   *logs.Sender
	timings *pending[*agentv2.Timing]

	mu      sync.Mutex
	current []script.Script
	begun   bool // the first manifest is there
	started bool // what starts the workspace has ended
	problem string
}

func newScripts(a *agent) *scripts {
	s := &scripts{agent: a, lines: logs.New(a.log), timings: newPending[*agentv2.Timing](timingsLimit)}
	s.runner = script.New(script.Config{
		Logger: a.log, Login: a.login(), Completed: s.timings.add, BinDirectory: a.binDirectory(),
		DataDirectory: a.stateDirectory("script-data"), LogDirectory: a.stateDirectory("logs"),
		Output: func(source uuid.UUID, level agentv2.Log_Level) io.WriteCloser {
			return s.lines.Source(source).Writer(level)
		},
	})
	return s
}

// binDirectory is where scripts put programs; it leads the PATH of everything
// in the workspace.
func (a *agent) binDirectory() string { return a.stateDirectory("bin") }

func (a *agent) stateDirectory(name string) string {
	path, err := filepath.Abs(a.config.StateDir)
	if err != nil {
		path = a.config.StateDir
	}
	return filepath.Join(path, name)
}

// use makes the scripts of a manifest the ones that run. Those that start the
// workspace run with the first manifest of the agent's life only. They do not
// wait for the control plane, nor does anybody wait for them: a broken script
// must not keep its owner out.
func (s *scripts) use(m manifest) {
	read, err := script.Read(m.message.GetScripts())
	s.agent.mu.Lock()
	closing := s.agent.closing
	s.agent.mu.Unlock()
	if closing {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tell(err)
	first := !s.begun
	s.current, s.begun = read, true
	switch {
	case first:
		s.agent.reporter.add(agentv2.Lifecycle_STARTING)
		s.agent.work.Go(func() { s.start(read) })
	case s.started:
		s.runner.Schedule(read)
	}
}

// tell says once what is wrong with a manifest's scripts.
func (s *scripts) tell(err error) {
	problem := ""
	if err != nil {
		problem = err.Error()
	}
	if problem != "" && problem != s.problem {
		s.agent.log.Warn("some scripts of the workspace are not run", slog.String("error", problem))
	}
	s.problem = problem
}

func (s *scripts) start(read []script.Script) {
	s.agent.reporter.add(map[script.Outcome]agentv2.Lifecycle_State{
		script.Succeeded: agentv2.Lifecycle_READY, script.TimedOut: agentv2.Lifecycle_START_TIMEOUT, script.Failed: agentv2.Lifecycle_START_ERROR,
	}[s.runner.Start(read)])
	s.mu.Lock()
	defer s.mu.Unlock()
	s.started = true
	s.runner.Schedule(s.current)
}

// stop ends what runs and runs what ends the workspace, and tells how that went.
func (s *scripts) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), haltLimit)
	defer cancel()
	s.runner.Halt(ctx)
	s.mu.Lock()
	last := slices.Clone(s.current)
	s.mu.Unlock()
	s.agent.reporter.add(map[script.Outcome]agentv2.Lifecycle_State{
		script.Succeeded: agentv2.Lifecycle_OFF, script.TimedOut: agentv2.Lifecycle_SHUTDOWN_TIMEOUT, script.Failed: agentv2.Lifecycle_SHUTDOWN_ERROR,
	}[s.runner.Stop(context.Background(), last)])
}

func (s *scripts) hasBegun() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.begun
}

// parts send lines, and how scripts ended.
func (s *scripts) parts() []part {
	return []part{
		partFunc(func(ctx context.Context, api agentv2.DRPCAgentClient) error { return s.lines.Run(ctx, api) }),
		partFunc(func(ctx context.Context, api agentv2.DRPCAgentClient) error {
			s.timings.run(ctx, s.agent.log, "script", func(ctx context.Context, timing *agentv2.Timing) error {
				_, err := api.ScriptCompleted(ctx, &agentv2.WorkspaceAgentScriptCompletedRequest{Timing: timing})
				return err
			})
			return nil
		}),
	}
}
