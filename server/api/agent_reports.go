package api

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/proto/agentv2"
	"github.com/causewayhq/causeway/server/store"
)

const (
	// flushInterval is how old what is stored of metadata, health, statistics and
	// resources may be: it is what a server that is killed loses.
	flushInterval = 10 * time.Second
	// flushMost bounds what is written each time: 500 rows a second, which is a
	// small part of what the database can. More than that waits, and as only the
	// latest of each is written, nothing grows meanwhile.
	flushMost = 5000
	// statsStep is how close lines of statistics may be: agents report each 5
	// minutes, and one that reports more often has its reports added up.
	statsStep = time.Minute
)

// reports keeps the latest of what agents report often in memory while they are
// connected or looked at, and writes it to the database now and then: a storm of
// reports writes no more than a trickle does.
type reports struct {
	store  *store.Store
	logger *slog.Logger
	// manifest is what an agent is told; reports of what is not in it are dropped.
	manifest func(ctx context.Context, agent store.Agent) (*agentv2.Manifest, error)

	mu     sync.Mutex
	agents map[uuid.UUID]*reported
	failed bool // the last write did
}

// reported is what one agent has reported. Its followers are of its own.
type reported struct {
	id    uuid.UUID
	users int // connections and viewers, under reports.mu
	logs  logFeed
	// gone is closed when the agent has been deleted.
	gone chan struct{}

	mu        sync.Mutex
	loaded    bool
	metadata  map[string]metadataResult
	health    map[string]string // by the app's id
	stats     *statsBody
	resources []resourcePoint
	dirty     map[valueName]struct{}
	// line is what the next line of statistics has so far, lineAt is when the last
	// one was made.
	line     *store.AgentStats
	lineAt   time.Time
	watchers map[chan struct{}]struct{} // each holds one, told of new metadata
}

type valueName struct{ kind, name string }

func newReports(from *store.Store, logger *slog.Logger) *reports {
	return &reports{store: from, logger: logger, agents: map[uuid.UUID]*reported{}}
}

// acquire gives the state of an agent, which release gives back.
func (r *reports) acquire(ctx context.Context, agent uuid.UUID) *reported {
	r.mu.Lock()
	state := r.agents[agent]
	if state == nil {
		state = &reported{
			id: agent, gone: make(chan struct{}), metadata: map[string]metadataResult{}, health: map[string]string{},
			dirty: map[valueName]struct{}{}, watchers: map[chan struct{}]struct{}{},
		}
		r.agents[agent] = state
	}
	state.users++
	r.mu.Unlock()
	if err := state.load(ctx, r.store); err != nil && ctx.Err() == nil {
		// What is reported from now on is as good; the rest is read next time.
		r.logger.Warn("what an agent has reported before is not known", slog.Any("error", err))
	}
	return state
}

func (r *reports) release(state *reported) {
	r.mu.Lock()
	defer r.mu.Unlock()
	state.users--
	r.retire(state)
}

// retire forgets a state that nobody uses and that is written. The caller holds mu.
func (r *reports) retire(state *reported) {
	state.mu.Lock()
	defer state.mu.Unlock()
	if state.users == 0 && len(state.dirty) == 0 && state.line == nil && r.agents[state.id] == state {
		delete(r.agents, state.id)
	}
}

// load reads what is stored, and keeps what is newer.
func (s *reported) load(ctx context.Context, from *store.Store) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.loaded {
		return nil
	}
	values, err := from.AgentValues(ctx, s.id)
	if err != nil {
		return err
	}
	for _, value := range values {
		if _, newer := s.dirty[valueName{value.Kind, value.Name}]; newer {
			continue
		}
		if err := s.restore(value); err != nil {
			return err
		}
	}
	s.loaded = true
	return nil
}

func (s *reported) restore(value store.AgentValue) (err error) {
	switch value.Kind {
	case store.ValueMetadata:
		var result metadataResult
		if err = json.Unmarshal(value.Value, &result); err == nil {
			s.metadata[value.Name] = result
		}
	case store.ValueApp:
		var health string
		if err = json.Unmarshal(value.Value, &health); err == nil {
			s.health[value.Name] = health
		}
	case store.ValueStats:
		err = json.Unmarshal(value.Value, &s.stats)
	case store.ValueResources:
		err = json.Unmarshal(value.Value, &s.resources)
	}
	return err
}

// current is what restore reads. The caller holds mu.
func (s *reported) current(name valueName) any {
	switch name.kind {
	case store.ValueMetadata:
		return s.metadata[name.name]
	case store.ValueApp:
		return s.health[name.name]
	case store.ValueStats:
		return s.stats
	default:
		return s.resources
	}
}

// taken is what of a state is on its way to the database.
type taken struct {
	state *reported
	names []valueName
	line  *store.AgentStats
}

// take moves up to most values out; the caller holds no lock.
func (s *reported) take(most int, all bool, now time.Time) (values []store.AgentValue, out taken) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out.state = s
	for name := range s.dirty {
		if len(values) >= most {
			break
		}
		encoded, err := json.Marshal(s.current(name))
		delete(s.dirty, name)
		if err != nil {
			continue // all of it is strings and finite numbers
		}
		out.names = append(out.names, name)
		values = append(values, store.AgentValue{Agent: s.id, Kind: name.kind, Name: name.name, Value: encoded})
	}
	if s.line != nil && len(values) < most && (all || now.Sub(s.lineAt) >= statsStep) {
		out.line, s.line, s.lineAt = s.line, nil, now
	}
	return values, out
}

// putBack is for what could not be written.
func (t taken) putBack() {
	t.state.mu.Lock()
	defer t.state.mu.Unlock()
	for _, name := range t.names {
		t.state.dirty[name] = struct{}{}
	}
	if t.line != nil {
		if t.state.line != nil {
			t.line.Add(*t.state.line)
		}
		t.state.line = t.line
	}
}

// flush writes what has changed, up to flushMost rows, and says whether that was
// all. Lines of statistics that are young wait, unless all are wanted.
func (r *reports) flush(ctx context.Context, all bool) (done bool) {
	r.mu.Lock()
	states := make([]*reported, 0, len(r.agents))
	for _, state := range r.agents { // in no order, so that each gets its turn
		states = append(states, state)
	}
	r.mu.Unlock()
	var values []store.AgentValue
	var lines []store.AgentStats
	var out []taken
	now := time.Now()
	for _, state := range states {
		most := flushMost - len(values) - len(lines)
		if most <= 0 {
			break
		}
		some, one := state.take(most, all, now)
		values = append(values, some...)
		if one.line != nil {
			lines = append(lines, *one.line)
		}
		out = append(out, one)
	}
	err := r.store.SaveReports(ctx, values, lines)
	if err != nil {
		for _, one := range out {
			one.putBack()
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil && !r.failed {
		r.logger.Error("reports of agents are not stored; they are kept and tried again", slog.Any("error", err))
	}
	r.failed = err != nil
	for _, one := range out {
		r.retire(one.state)
	}
	return err != nil || len(values)+len(lines) < flushMost
}

// run writes until the context ends.
func (r *reports) run(ctx context.Context) {
	ticker := time.NewTicker(flushInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			r.flush(ctx, false)
		}
	}
}

// close writes everything that is left.
func (r *reports) close(ctx context.Context) {
	for ctx.Err() == nil && !r.flush(ctx, true) {
	}
}

// endDeleted ends who follows an agent that is not there any more.
func (r *reports) endDeleted(ctx context.Context) {
	r.mu.Lock()
	watched := maps.Clone(r.agents)
	r.mu.Unlock()
	for id, state := range watched {
		if !state.followed() {
			continue
		}
		if there, err := r.store.AgentExists(ctx, id); err != nil || there {
			continue
		}
		r.mu.Lock()
		if r.agents[id] == state {
			delete(r.agents, id)
			close(state.gone)
		}
		r.mu.Unlock()
	}
}

// forget drops the metadata and the health of what an agent is not told of any
// more: otherwise each change of its definition would leave something behind.
func (r *reports) forget(ctx context.Context, state *reported, still *known) error {
	keys, apps := state.forget(still)
	for kind, names := range map[string][]string{store.ValueMetadata: keys, store.ValueApp: apps} {
		if len(names) == 0 {
			continue
		}
		if err := r.store.DeleteAgentValues(ctx, state.id, kind, names); err != nil {
			return err
		}
	}
	return nil
}

// forget drops what is in memory. The database is not waited for under the lock,
// for which those wait who hold that of all agents.
func (s *reported) forget(still *known) (keys, apps []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.metadata {
		if still.metadata[key] == nil {
			keys = append(keys, key)
			delete(s.metadata, key)
			delete(s.dirty, valueName{store.ValueMetadata, key})
		}
	}
	for id := range s.health {
		if still.apps[parsed(id)] == nil {
			apps = append(apps, id)
			delete(s.health, id)
			delete(s.dirty, valueName{store.ValueApp, id})
		}
	}
	return keys, apps
}

// parsed is an id, or that of nothing.
func parsed(text string) uuid.UUID {
	id, _ := uuid.Parse(text) // ours, unless the database was edited
	return id
}

func (s *reported) followed() bool {
	s.mu.Lock()
	watchers := len(s.watchers)
	s.mu.Unlock()
	return watchers > 0 || s.logs.followed()
}

// watch tells of new metadata until stop is called.
func (s *reported) watch() (changed <-chan struct{}, stop func()) {
	told := make(chan struct{}, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watchers[told] = struct{}{}
	return told, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.watchers, told)
	}
}

// tell wakes the watchers. The caller holds mu.
func (s *reported) tell() {
	for told := range s.watchers {
		select {
		case told <- struct{}{}:
		default:
		}
	}
}
