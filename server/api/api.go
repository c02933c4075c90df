// Package api is the HTTP face of the control plane: the REST paths by which a
// client finds out who it is and what there is, and the websocket routes that
// carry the Tailnet and agent APIs. Paths and JSON follow those that a Coder
// client uses where one exists.
//
// A user sees and reaches only what is their own; whatever belongs to somebody
// else answers like what does not exist. Administrators manage users, and have
// no more access to anybody's workspaces than anybody else.
package api

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/agentv2"
	"github.com/causewayhq/causeway/server/coordinator"
	"github.com/causewayhq/causeway/server/limit"
	"github.com/causewayhq/causeway/server/store"
	tailnetsvc "github.com/causewayhq/causeway/server/tailnet"
)

// Config is what the API is made of. All fields are needed unless they say
// otherwise.
type Config struct {
	Logger *slog.Logger
	Store  *store.Store
	// Coordinator introduces the peers that connect here.
	Coordinator *coordinator.Coordinator
	// Resume keeps the peer ids of clients over reconnects.
	Resume *tailnetsvc.ResumeKeys
	// Relay serves /derp and /derp/latency-check; nil when there is no relay.
	Relay http.Handler
	// RelayMap is the current map; it is called for each request.
	RelayMap func() proto.RelayMap
	// AccessURL is how clients reach this server, as buildinfo tells it.
	AccessURL string
	// Version of this server, as buildinfo tells it.
	Version string
	// HostnameSuffix of the names in the tunnel; "" lets clients use theirs.
	HostnameSuffix string
	// DirectDisabled and ForceWebsocket are told to clients and agents.
	DirectDisabled, ForceWebsocket bool
	// Changed is called after another process may have changed what is stored; nil
	// when nobody else needs to know.
	Changed func(context.Context)
	// SetupCode lets its holder create the first user by HTTP; "" forbids that.
	SetupCode string
	// Agents reaches agents by the tunnel; nil where the server does not.
	Agents AgentDialer
	// Session finds the browser session of a request, and its secret; without one
	// the error is a store.ErrNotFound. Nil where there are none.
	Session func(*http.Request) (store.Proof, string, error)
}

// Server answers the API. Run and the handler may be used at the same time;
// Close ends what the handler has upgraded.
type Server struct {
	config   Config
	mux      *http.ServeMux
	presence *presence
	live     *live
	reports  *reports
	// writeLimit is how long a follower may take for what it is sent.
	writeLimit time.Duration
	// signs is how often a page's terminal gives its agent a sign of life.
	signs    time.Duration
	informed *informed
	storm    *admission
	holders  *buckets[uuid.UUID]
	accounts *buckets[uuid.UUID]
	failures *buckets[netip.Prefix]
	guesses  *limit.Meter[uuid.UUID]

	health struct {
		sync.Mutex
		asked  time.Time
		answer error
	}
	updates *tailnetsvc.Updates
	service *tailnetsvc.Service
}

// New makes the API. Close ends it.
func New(config Config) *Server {
	s := &Server{config: config, mux: http.NewServeMux(), live: newLive(config.Coordinator.Lingers)}
	s.storm = newAdmission(time.Now())
	s.holders = newBuckets[uuid.UUID](holderRate, holderBurst)
	s.accounts = newBuckets[uuid.UUID](accountRate, accountBurst)
	s.failures = newBuckets[netip.Prefix](failureRate, failureBurst)
	s.guesses = limit.NewMeter[uuid.UUID](guessBurst, guessEvery, bucketLimit)
	s.updates = tailnetsvc.NewUpdates(s, config.Logger)
	s.informed = newInformed()
	s.writeLimit, s.signs = followWriteLimit, signInterval
	s.reports = newReports(config.Store, config.Logger)
	s.reports.manifest = func(ctx context.Context, agent store.Agent) (*agentv2.Manifest, error) {
		manifest, _, err := s.manifest(ctx, agent.ID)
		return manifest, err
	}
	s.presence = newPresence(s.updates.Changed)
	s.service = &tailnetsvc.Service{
		Coordinator: config.Coordinator, RelayMap: config.RelayMap, Updates: s.updates, Resume: config.Resume, Logger: config.Logger,
	}
	s.routes()
	return s
}

// answers are the routes that answer once, with JSON.
func (s *Server) answers() map[string]handlerFunc {
	return map[string]handlerFunc{
		"GET /api/v2/buildinfo":                              s.buildInfo,
		"GET /api/v2/users/first":                            s.hasFirstUser,
		"POST /api/v2/users/first":                           s.createFirstUser,
		"POST /api/v2/users/logout":                          s.logout,
		"GET /api/v2/users":                                  s.listUsers,
		"POST /api/v2/users":                                 s.createUser,
		"GET /api/v2/users/{user}":                           s.getUser,
		"DELETE /api/v2/users/{user}":                        s.deleteUser,
		"GET /api/v2/users/{user}/keys/tokens":               s.listTokens,
		"POST /api/v2/users/{user}/keys/tokens":              s.createToken,
		"GET /api/v2/users/{user}/keys/{key}":                s.getToken,
		"DELETE /api/v2/users/{user}/keys/{key}":             s.deleteToken,
		"PUT /api/v2/users/{user}/password":                  s.setPassword,
		"GET /api/v2/workspaces":                             s.listWorkspaces,
		"POST /api/v2/users/{user}/workspaces":               s.createWorkspace,
		"GET /api/v2/users/{user}/workspace/{workspace}":     s.getWorkspaceByName,
		"GET /api/v2/workspaces/{id}":                        s.getWorkspace,
		"DELETE /api/v2/workspaces/{id}":                     s.deleteWorkspace,
		"POST /api/v2/workspaces/{id}/agents":                s.createAgent,
		"GET /api/v2/workspaceagents/{id}":                   s.getAgent,
		"DELETE /api/v2/workspaceagents/{id}":                s.deleteAgent,
		"POST /api/v2/workspaceagents/{id}/tokens":           s.createAgentToken,
		"GET /api/v2/workspaceagents/connection":             s.getConnection,
		"GET /api/v2/workspaceagents/{id}/connection":        s.getAgentConnection,
		"GET /api/v2/users/{user}/gitsshkey":                 s.getGitKey,
		"PUT /api/v2/users/{user}/gitsshkey":                 s.replaceGitKey,
		"GET /api/v2/users/{user}/git-credentials":           s.listGitCredentials,
		"PUT /api/v2/users/{user}/git-credentials/{host}":    s.setGitCredential,
		"DELETE /api/v2/users/{user}/git-credentials/{host}": s.deleteGitCredential,
		"GET /api/v2/workspaceagents/me/gitsshkey":           s.agentGitKey,
		"GET /api/v2/workspaceagents/me/external-auth":       s.agentGitCredential,
		"GET /api/v2/workspaceagents/{id}/lifecycle":         s.getLifecycle,
		"GET /api/v2/workspaceagents/{id}/metadata":          s.getMetadata,
		"GET /api/v2/workspaceagents/{id}/stats":             s.getStats,
		"GET /api/v2/workspaceagents/{id}/connections":       s.getConnections,
		"GET /api/v2/workspaceagents/{id}/timings":           s.getTimings,
		"GET /api/v2/workspaceagents/{id}/resources":         s.getResources,
		"GET /api/v2/debug/coordinator":                      s.debugCoordinator,
		"GET /api/v2/appearance":                             s.getAppearance,
		"PUT /api/v2/appearance":                             s.putAppearance,
		"GET /api/v2/workspaceagents/definition-schema":      s.getDefinitionSchema,
		"GET /healthz":                                       s.healthy,
		"GET /readyz":                                        s.ready,
		"/":                                                  s.noRoute,
	}
}

func (s *Server) routes() {
	for pattern, handler := range s.answers() {
		s.mux.HandleFunc(pattern, s.handle(handler))
	}
	for pattern, handler := range map[string]func(*http.Request) (store.Definition, error){
		"GET /api/v2/workspaceagents/{id}/definition":        s.getDefinition,
		"PUT /api/v2/workspaceagents/{id}/definition":        s.putDefinition,
		"PUT /api/v2/workspaceagents/{id}/secrets/{name}":    s.putSecret,
		"DELETE /api/v2/workspaceagents/{id}/secrets/{name}": s.deleteSecret,
	} {
		s.mux.HandleFunc(pattern, s.answerDefinition(handler))
	}
	s.mux.HandleFunc("GET /api/v2/derp-map", s.serveRelayMaps)
	s.mux.HandleFunc("GET /api/v2/tailnet", s.serveTailnet)
	s.mux.HandleFunc("GET /api/v2/workspaceagents/{id}/coordinate", s.serveCoordinate)
	s.mux.HandleFunc("GET /api/v2/workspaceagents/me/rpc", s.serveAgent)
	s.mux.HandleFunc("GET /api/v2/workspaceagents/{id}/logs", s.serveLogs)
	s.mux.HandleFunc("GET /api/v2/workspaceagents/{id}/watch-metadata", s.serveMetadata)
	if s.config.Agents != nil {
		s.mux.HandleFunc("GET /api/v2/workspaceagents/{id}/pty", s.servePTY)
		s.mux.HandleFunc("GET /api/v2/workspaceagents/{id}/listening-ports", s.handle(s.listeningPorts))
	}
	if s.config.Relay != nil {
		s.mux.Handle("/derp", s.config.Relay)
		s.mux.Handle("/derp/latency-check", s.config.Relay)
	}
}

// ServeHTTP answers a request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

func (s *Server) noRoute(r *http.Request) (int, any, error) {
	if r.URL.Path == "/" && r.Method == http.MethodGet {
		return http.StatusOK, map[string]string{"message": "This is a Causeway control plane. Sign in with: causeway login " + s.config.AccessURL}, nil
	}
	return 0, nil, reject(http.StatusNotFound, "Route not found.", "")
}

func (s *Server) buildInfo(*http.Request) (int, any, error) {
	return http.StatusOK, map[string]any{
		"external_url": s.config.AccessURL, "version": s.config.Version,
		"agent_api_version": proto.Current.String(), "provisioner_api_version": "", "dashboard_url": s.config.AccessURL,
	}, nil
}

// debugCoordinator shows administrators who is connected and how many
// connections took over another: no keys, no addresses.
func (s *Server) debugCoordinator(r *http.Request) (int, any, error) {
	if _, err := s.admin(r); err != nil {
		return 0, nil, err
	}
	return http.StatusOK, s.config.Coordinator.Snapshot(), nil
}

// healthy says that the process serves. It stays so without a database: to start
// the process again would cut every session and mend nothing. The database's state
// stands beside it, and is what ready answers by.
func (s *Server) healthy(r *http.Request) (int, any, error) {
	database := "ok"
	if s.usable(r.Context()) != nil {
		database = "not usable"
	}
	return http.StatusOK, map[string]string{"message": "ok", "database": database}, nil
}

// readyLimit bounds the readiness check below the shortest probe limit in use (1 s in Kubernetes).
const readyLimit = 900 * time.Millisecond

// readyMemory is how long an answer of the database is good: who may ask for
// its state is anybody, and it takes the writer's turn.
const readyMemory = 500 * time.Millisecond

// usable is the state of the database; the cause of its trouble is logged once.
func (s *Server) usable(ctx context.Context) error {
	s.health.Lock()
	defer s.health.Unlock()
	if time.Since(s.health.asked) < readyMemory {
		return s.health.answer
	}
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), readyLimit)
	defer cancel()
	before := s.health.answer
	s.health.answer, s.health.asked = s.config.Store.Ping(limited), time.Now()
	if s.health.answer != nil && before == nil {
		s.config.Logger.Error("database is not usable", slog.Any("error", s.health.answer))
	}
	return s.health.answer
}

func (s *Server) ready(r *http.Request) (int, any, error) {
	if s.usable(r.Context()) != nil {
		return 0, nil, reject(http.StatusServiceUnavailable, "The database does not answer.", "")
	}
	return http.StatusOK, map[string]any{"message": "ok", "connections": s.live.count()}, nil
}

// logout revokes the token that the request shows.
func (s *Server) logout(r *http.Request) (int, any, error) {
	_, token, err := s.user(r)
	if err != nil {
		return 0, nil, err
	}
	if err := s.config.Store.RevokeToken(r.Context(), token.ID); err != nil {
		return 0, nil, err
	}
	s.changed()
	return http.StatusOK, map[string]string{"message": "Logged out!"}, nil
}

const (
	// watchInterval is how soon a change that another process has made is
	// noticed. One look is a read of shared memory, without disk or lock.
	watchInterval = time.Second
	// sweepInterval is how late the end of a token's life may cut its connections,
	// and one that was being made while its token was revoked: that one is no older
	// than the look that follows the revocation, and is found by the next. With
	// watchInterval and the time to read why it stays below 10 s.
	sweepInterval = 5 * time.Second
	// changeLimit bounds the work that follows a change.
	changeLimit = 15 * time.Second
)

// Run notices what other processes change in the database and ends connections
// whose token is gone. It returns when the context ends.
func (s *Server) Run(ctx context.Context) error {
	var sweeper sync.WaitGroup
	defer sweeper.Wait()
	sweeper.Go(func() { s.sweep(ctx) })
	sweeper.Go(func() { s.reports.run(ctx) })
	for {
		err := s.config.Store.Watch(ctx, watchInterval, s.changed)
		if ctx.Err() != nil {
			return nil
		}
		s.config.Logger.Error("watch for changes failed", slog.Any("error", err))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(watchInterval):
		}
	}
}

func (s *Server) sweep(ctx context.Context) {
	ticker := time.NewTicker(sweepInterval)
	defer ticker.Stop()
	settled := time.After(absenceGrace)
	for {
		select {
		case <-ctx.Done():
			return
		case <-settled:
			// What was unknown since the start is known from now on.
			s.changed()
		case <-ticker.C:
			s.endStale(ctx)
		}
	}
}

// changed is called after any change of what is stored. It is cheap to call
// once too often.
func (s *Server) changed() {
	ctx, cancel := context.WithTimeout(context.Background(), changeLimit)
	defer cancel()
	s.endStale(ctx)
	if err := s.informed.redefine(ctx, s.config.Store); err != nil {
		s.config.Logger.Error("look for changed definitions failed", slog.Any("error", err))
	}
	s.reports.endDeleted(ctx)
	if s.config.Changed != nil {
		s.config.Changed(ctx)
	}
	for _, owner := range s.live.users() {
		s.updates.Changed(owner)
	}
}

// Changed is for other parts of this process that have ended a token: its
// connections end at once.
func (s *Server) Changed() { s.changed() }

func (s *Server) endStale(ctx context.Context) {
	asked := time.Now()
	tokens, err := s.config.Store.LiveTokens(ctx)
	if err == nil {
		var sessions map[string]struct{}
		sessions, err = s.config.Store.LiveSessions(ctx)
		maps.Copy(tokens, sessions)
	}
	if err != nil {
		if !errors.Is(err, context.Canceled) {
			s.config.Logger.Error("check tokens of connections failed", slog.Any("error", err))
		}
		return
	}
	for _, peer := range s.live.retain(tokens, asked) {
		// One that is connected is told by its connection.
		s.config.Coordinator.Forget(peer, errTokenEnded.Text)
	}
}

// Close ends every websocket connection and waits until they have ended or the
// context has. No new one is taken afterwards. Clients are told to come back, each
// at a time of its own. It closes the coordinator.
func (s *Server) Close(ctx context.Context) error {
	s.presence.close()
	err := s.live.drain(ctx)
	s.reports.close(ctx)
	s.updates.Close()
	return errors.Join(err, s.config.Coordinator.Close())
}
