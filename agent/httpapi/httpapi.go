// Package httpapi is what the agent serves on port 4 of the tailnet (docs of the
// protocol, 5.4): which ports listen, directories for file pickers, the state of
// the network, terminals, and what a person needs who looks for a fault.
//
//	httpapi.go    the server, its limits and its routes
//	guard.go      who may ask: no page in a browser drives it
//	ports.go      listening ports
//	directory.go  listings; root_*.go: where they begin on each system
//	netcheck.go, debug.go, terminals.go   what their names say
//	ring.go       the last lines of the log
//	metrics.go    the text format of Prometheus
//
// Nobody is asked who they are: the tailnet is the boundary, as for SSH. Each
// thing that a caller can make grow has a limit, with its figure, in this package.
package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/net/netutil"
	"golang.org/x/sync/singleflight"

	"github.com/causewayhq/causeway/proto/agentv2"
	"github.com/causewayhq/causeway/tailnet"
)

// The limits of the server.
const (
	// exchangeLimit is the most that a request may take to arrive, and its answer
	// to be taken (docs of the protocol, 5.4). It ends slow clients, clients that
	// never read, and connections that say nothing.
	exchangeLimit = 20 * time.Second
	// maxConnections are served at once; more wait, no longer than exchangeLimit.
	maxConnections = 64
	// maxHeader and maxBody are far above what any request of ours needs: the
	// largest is a path, which systems limit to 4 KiB or 64 KiB.
	maxHeader = 16 << 10
	maxBody   = 64 << 10
)

// Network is the tailnet as far as this package shows it.
type Network interface {
	MeasureNetwork(ctx context.Context) tailnet.NetworkReport
	// PathsPage is upstream's page about its paths.
	PathsPage() []byte
	// SetPathLogging makes upstream log each step on its paths.
	SetPathLogging(on bool)
}

// Config is what the server shows. Logger and Logs are required.
type Config struct {
	Logger  *slog.Logger
	Version string
	// Logs are the lines that /debug/logs answers with.
	Logs *Ring
	// HostKeys are those of the SSH server.
	HostKeys []ssh.PublicKey
	// Terminals are those that can be attached to again. Nil: there are none.
	Terminals Terminals
	// Network is the current one, or nil.
	Network func() Network
	// Manifest is the current one, or nil.
	Manifest func() *agentv2.Manifest
	// Metrics are measured when they are asked for. Nil: only those of the process.
	Metrics func() []Metric
}

// Server answers on any number of listeners.
type Server struct {
	config Config
	http   *http.Server
	ports  portCache
	lists  chan struct{} // a place for each listing that is under way
	flight singleflight.Group

	ctx  context.Context
	stop context.CancelFunc
	mu   sync.Mutex // of the end: no work begins after it
	work sync.WaitGroup
}

// New makes a server; it serves nothing yet.
func New(config Config) *Server {
	s := &Server{config: config, lists: make(chan struct{}, maxListings)}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.ports.scan = listening
	s.http = &http.Server{
		Handler: s.guard(s.routes()), ReadTimeout: exchangeLimit, WriteTimeout: exchangeLimit, IdleTimeout: exchangeLimit, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(config.Logger.Handler(), slog.LevelDebug),
	}
	return s
}

// Serve answers until the listener ends.
func (s *Server) Serve(listener net.Listener) error {
	err := s.http.Serve(netutil.LimitListener(listener, maxConnections))
	if err == nil || errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return fmt.Errorf("serve HTTP on %s: %w", listener.Addr(), err)
}

// Close ends every connection. What a listing waits for, a file system that does
// not answer, is not waited for.
func (s *Server) Close() error {
	s.mu.Lock()
	s.stop()
	s.mu.Unlock()
	err := s.http.Close()
	s.work.Wait()
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("close HTTP server: %w", err)
	}
	return nil
}

// begin says whether work may begin, which Close then waits for.
func (s *Server) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		return false
	}
	s.work.Add(1)
	return true
}

// notOffered are parts of the API of other agents, and why they are not here.
var notOffered = map[string]string{
	"git":            "this agent does not watch repositories",
	"processes":      "this agent runs programs for SSH and terminals only",
	"desktop":        "this agent has no desktop",
	"mcp":            "this agent has no MCP server",
	"context":        "this agent collects no context for AI tools",
	"context-config": "this agent collects no context for AI tools",
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		write(w, http.StatusOK, message{Message: "Hello from the agent of this workspace!"})
	})
	mux.HandleFunc("GET /api/v0/listening-ports", s.listeningPorts)
	mux.HandleFunc("POST /api/v0/list-directory", s.listDirectory)
	mux.HandleFunc("GET /api/v0/netcheck", s.netcheck)
	mux.HandleFunc("GET /api/v0/ssh-host-keys", s.hostKeys)
	mux.HandleFunc("GET /api/v0/terminals", s.listTerminals)
	mux.HandleFunc("DELETE /api/v0/terminals/{id}", s.killTerminal)
	mux.HandleFunc("/api/v0/containers", func(w http.ResponseWriter, _ *http.Request) {
		write(w, http.StatusForbidden, message{Message: "Containers are disabled: this agent does not look into containers."})
	})
	for name, reason := range notOffered {
		absent := func(w http.ResponseWriter, _ *http.Request) {
			write(w, http.StatusNotFound, message{Message: "Not offered: " + reason + "."})
		}
		mux.HandleFunc("/api/v0/"+name, absent)
		mux.HandleFunc("/api/v0/"+name+"/", absent)
	}
	mux.HandleFunc("GET /debug/logs", s.logs)
	mux.HandleFunc("GET /debug/magicsock", s.magicsock)
	mux.HandleFunc("/debug/magicsock/debug-logging/{state}", s.debugLogging)
	mux.HandleFunc("GET /debug/manifest", s.manifest)
	mux.HandleFunc("GET /debug/prometheus", s.prometheus)
	return mux
}

// message is the answer where there is nothing else to say.
type message struct {
	Message string `json:"message"`
	Detail  string `json:"detail,omitempty"`
}

func write(w http.ResponseWriter, status int, value any) {
	body, err := json.Marshal(value)
	if err != nil {
		http.Error(w, "encode answer: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // an error means that the client is gone
}

// fail answers with what went wrong.
func fail(w http.ResponseWriter, status int, what string, err error) {
	answer := message{Message: what}
	if err != nil {
		answer.Detail = err.Error()
	}
	write(w, status, answer)
}

// hostKeys lets a client know the SSH server before it first connects: the way
// here has been authenticated by the tunnel.
func (s *Server) hostKeys(w http.ResponseWriter, _ *http.Request) {
	answer := struct {
		Version int      `json:"version"`
		Keys    []string `json:"keys"`
	}{Version: 1, Keys: []string{}}
	for _, key := range s.config.HostKeys {
		line := ssh.MarshalAuthorizedKey(key)
		answer.Keys = append(answer.Keys, string(line[:len(line)-1]))
	}
	write(w, http.StatusOK, answer)
}
