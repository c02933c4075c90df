package agent

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/google/uuid"
	protobuf "google.golang.org/protobuf/proto"

	"github.com/causewayhq/causeway/proto/agentv2"
)

// toldScripts is what a plane was told of scripts. It stores lines as our
// server does: a batch whose beginning repeats the end of what is stored adds
// only the rest.
type toldScripts struct {
	mu      sync.Mutex
	lines   map[uuid.UUID][]*agentv2.Log
	timings []*agentv2.Timing
	// lose is asked after a batch was stored; true loses its answer.
	lose func(batch int) bool
	hang bool
	full bool
	seen int
}

func (p *plane) life() []agentv2.Lifecycle_State {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.lifecycle)
}

func (p *plane) BatchCreateLogs(ctx context.Context, in *agentv2.BatchCreateLogsRequest) (*agentv2.BatchCreateLogsResponse, error) {
	told := &p.scripted
	told.mu.Lock()
	defer told.mu.Unlock()
	if told.hang {
		told.mu.Unlock()
		<-ctx.Done()
		told.mu.Lock()
		return nil, ctx.Err()
	}
	if told.lines == nil {
		told.lines = map[uuid.UUID][]*agentv2.Log{}
	}
	id := uuid.UUID(in.GetLogSourceId())
	old, batch := told.lines[id], in.GetLogs()
	repeated := min(len(old), len(batch))
	for repeated > 0 && !slices.EqualFunc(old[len(old)-repeated:], batch[:repeated], func(a, b *agentv2.Log) bool { return protobuf.Equal(a, b) }) {
		repeated--
	}
	told.lines[id] = append(old, batch[repeated:]...)
	told.seen++
	if told.lose != nil && told.lose(told.seen) {
		return nil, errors.New("the answer is lost")
	}
	return &agentv2.BatchCreateLogsResponse{LogLimitExceeded: told.full}, nil
}

func (p *plane) ScriptCompleted(ctx context.Context, in *agentv2.WorkspaceAgentScriptCompletedRequest) (*agentv2.WorkspaceAgentScriptCompletedResponse, error) {
	p.scripted.mu.Lock()
	defer p.scripted.mu.Unlock()
	if p.scripted.hang {
		p.scripted.mu.Unlock()
		<-ctx.Done()
		p.scripted.mu.Lock()
		return nil, ctx.Err()
	}
	p.scripted.timings = append(p.scripted.timings, in.GetTiming())
	return &agentv2.WorkspaceAgentScriptCompletedResponse{}, nil
}

// printed is what came of a script's lines.
func (p *plane) printed(script *agentv2.WorkspaceAgentScript) []string {
	p.scripted.mu.Lock()
	defer p.scripted.mu.Unlock()
	var result []string
	for _, line := range p.scripted.lines[uuid.UUID(script.GetLogSourceId())] {
		result = append(result, line.GetOutput())
	}
	return result
}
