// Package server assembles the control plane: the store, the coordinator, the
// API, the relay and STUN, on one listener for HTTP and one for UDP.
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"tailscale.com/types/key"

	"github.com/causewayhq/causeway/server/api"
	"github.com/causewayhq/causeway/server/coordinator"
	"github.com/causewayhq/causeway/server/limit"
	"github.com/causewayhq/causeway/server/relay"
	"github.com/causewayhq/causeway/server/signin"
	"github.com/causewayhq/causeway/server/store"
	tailnetsvc "github.com/causewayhq/causeway/server/tailnet"
	"github.com/causewayhq/causeway/server/tailnetclient"
	"github.com/causewayhq/causeway/server/terminal"
)

const (
	// DefaultListen is loopback, because plain HTTP carries tokens in clear:
	// opening the server to others is a decision, and it comes with --listen and
	// a certificate or a proxy. 7080 is unassigned and collides with no common
	// development server.
	DefaultListen = "127.0.0.1:7080"
	// DefaultSTUNListen is the registered port of STUN, on every address: it
	// tells a peer nothing but its own address.
	DefaultSTUNListen = ":3478"
	// STUNOff as the STUN address turns STUN off.
	STUNOff = "off"
	// HostnameSuffix of the names in the tunnel.
	HostnameSuffix = "coder"
	// DrainLimit is how long a shutdown waits for connections to end.
	DrainLimit = 10 * time.Second
)

const (
	// headerLimit and bodyLimit end requests of clients that send too slowly.
	// Upgraded connections are not bound by them.
	headerLimit = 10 * time.Second
	bodyLimit   = 30 * time.Second
	// idleLimit is how long an unused connection is kept.
	idleLimit = 2 * time.Minute
	// headerSizeLimit is far above any real request: tokens have under 100 bytes.
	headerSizeLimit = 64 << 10
	// relayFlush is for frames that are on their way when the server stops.
	relayFlush = 200 * time.Millisecond
)

// Config is what a server needs to know. Only Logger and DataDir have no default.
type Config struct {
	Logger  *slog.Logger
	DataDir string
	// Listen is host:port; "" is DefaultListen.
	Listen string
	// AccessURL is how clients reach the server; "" derives it from Listen.
	AccessURL string
	// TLSCert and TLSKey are files in PEM form; both or none.
	TLSCert, TLSKey string
	// STUNListen is host:port, or STUNOff; "" is DefaultSTUNListen.
	STUNListen string
	// STUNOptional lets the server start without STUN when its port is taken.
	STUNOptional bool
	// STUNServers are told to clients besides our own: needed where the access
	// URL leads to a proxy, which carries no UDP.
	STUNServers []netip.AddrPort
	// Relays are told to clients instead of the one inside this server. They
	// know nothing of who may talk to whom: that is theirs to restrict.
	Relays []*url.URL
	// TrustedProxies are the proxies in front of us whose X-Forwarded-For is
	// believed: limits are by the address of the client then, and not by theirs.
	TrustedProxies []netip.Prefix
	// Version is told to clients.
	Version string
}

// SettingError is a value that cannot be used.
type SettingError struct {
	// Setting is the flag's name without its dashes.
	Setting string
	// Cause says what is wrong and what to do.
	Cause error
}

func (e *SettingError) Error() string { return "use setting --" + e.Setting + ": " + e.Cause.Error() }

// Unwrap is the cause.
func (e *SettingError) Unwrap() error { return e.Cause }

// ListenError is an address that cannot be listened on.
type ListenError struct {
	// Setting is the flag's name without its dashes.
	Setting string
	Address string
	Cause   error
}

func (e *ListenError) Error() string {
	return fmt.Sprintf("listen on %s: %s; choose another with --%s", e.Address, e.Cause, e.Setting)
}

// Unwrap is the cause.
func (e *ListenError) Unwrap() error { return e.Cause }

// Server is a control plane that holds its data directory and listens. It ends
// by Run's context, or by Close when it never ran.
type Server struct {
	config    Config
	lock      *store.Lock
	store     *store.Store
	listener  net.Listener
	stun      *relay.STUN // nil: off
	access    *url.URL
	setupCode string
	resume    *tailnetsvc.ResumeKeys
	relay     *relay.Relay
	api       *api.Server
	agents    *tailnetclient.Client
	http      *http.Server
}

// New takes the data directory and the listeners, so that whatever can go
// wrong at the start does before anything is announced.
func New(ctx context.Context, config Config) (server *Server, err error) {
	if config.Listen == "" {
		config.Listen = DefaultListen
	}
	if config.STUNListen == "" {
		config.STUNListen = DefaultSTUNListen
	}
	s := &Server{config: config}
	defer func() {
		if err != nil {
			s.release()
		}
	}()
	certificate, err := loadCertificate(config.TLSCert, config.TLSKey)
	if err != nil {
		return nil, err
	}
	if err := s.openStore(ctx); err != nil {
		return nil, err
	}
	if err := s.listen(certificate); err != nil {
		return nil, err
	}
	if s.access, err = accessURL(config.AccessURL, s.listener.Addr(), certificate != nil); err != nil {
		return nil, err
	}
	if err := s.store.SetSetting(ctx, store.SettingAccessURL, s.URL()); err != nil {
		return nil, err
	}
	return s, s.assemble(ctx)
}

func (s *Server) openStore(ctx context.Context) (err error) {
	if s.store, err = store.Open(ctx, s.config.DataDir); err != nil {
		return err
	}
	s.lock, err = store.LockDir(s.config.DataDir)
	return err
}

func (s *Server) listen(certificate *certificate) error {
	listener, err := net.Listen("tcp", s.config.Listen)
	if err != nil {
		return &ListenError{"listen", s.config.Listen, listenCause(err)}
	}
	s.listener = listener
	if certificate != nil {
		s.listener = tls.NewListener(listener, &tls.Config{
			GetCertificate: certificate.get, MinVersion: tls.VersionTLS12,
			// Upgrades need HTTP/1.1, and all long-lived traffic is upgraded.
			NextProtos: []string{"http/1.1"},
		})
	}
	if s.config.STUNListen == STUNOff {
		return nil
	}
	stun, err := relay.ListenSTUN(s.config.STUNListen, s.config.Logger)
	switch {
	case err == nil:
		s.stun = stun
	case s.config.STUNOptional:
		s.config.Logger.Warn("STUN is off, so direct paths are found less often", slog.String("address", s.config.STUNListen), slog.Any("cause", listenCause(err)))
	default:
		return &ListenError{"stun-listen", s.config.STUNListen, listenCause(err)}
	}
	return nil
}

// listenCause drops the operation and the address, which our message names.
func listenCause(err error) error {
	var failure *net.OpError
	if errors.As(err, &failure) {
		return failure.Err
	}
	return err
}

// URL is how clients reach the server.
func (s *Server) URL() string { return s.access.String() }

// Addr is the address listened on.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// STUNAddr is the address that STUN listens on, nil when it is off.
func (s *Server) STUNAddr() net.Addr {
	if s.stun == nil {
		return nil
	}
	return net.UDPAddrFromAddrPort(s.stun.Addr())
}

// SetupCode lets its holder create the first user by HTTP; "" when there is a
// user already.
func (s *Server) SetupCode() string { return s.setupCode }

// assemble makes the parts that serve. It starts nothing.
func (s *Server) assemble(ctx context.Context) error {
	users, err := s.store.UserCount(ctx)
	if err != nil {
		return err
	}
	if users == 0 {
		s.setupCode = newSetupCode()
	}
	if s.resume, err = tailnetsvc.NewResumeKeys(tailnetsvc.NewKey()); err != nil {
		return fmt.Errorf("make resume keys: %w", err)
	}
	if err := s.refreshResumeKeys(ctx); err != nil {
		return err
	}
	private, err := s.relayKey(ctx)
	if err != nil {
		return err
	}
	introducer := coordinator.New(s.config.Logger)
	s.relay = relay.New(relay.Config{Logger: s.config.Logger, Key: private, Policy: introducer})
	s.agents = tailnetclient.New(tailnetclient.Config{Logger: s.config.Logger, Coordinator: introducer, RelayMap: s.relayMap, Relay: s.relay})
	var pages *signin.Server
	session := func(r *http.Request) (store.Proof, string, error) { return pages.Session(r) }
	s.api = api.New(api.Config{
		Logger: s.config.Logger, Store: s.store, Coordinator: introducer, Resume: s.resume, Changed: s.storeChanged,
		Relay: s.relay, RelayMap: s.relayMap, AccessURL: s.URL(), Version: s.config.Version,
		HostnameSuffix: HostnameSuffix, SetupCode: s.setupCode, Agents: s.agents, Session: session,
	})
	pages = signin.New(signin.Config{Logger: s.config.Logger, Store: s.store, AccessURL: s.URL(), Changed: s.api.Changed})
	workspaces := terminal.New(terminal.Config{
		Logger: s.config.Logger, Store: s.store, Session: session, Status: s.api.AgentStatus, AccessURL: s.URL(), HostnameSuffix: HostnameSuffix,
	})
	s.http = &http.Server{
		Handler: limit.Behind(s.config.TrustedProxies, workspaces.Handler(pages.Handler(s.api))), ReadHeaderTimeout: headerLimit, ReadTimeout: bodyLimit, IdleTimeout: idleLimit, MaxHeaderBytes: headerSizeLimit,
		ErrorLog: slog.NewLogLogger(s.config.Logger.Handler(), slog.LevelInfo),
	}
	return nil
}

// Run serves until the context ends, then drains for up to DrainLimit and gives
// back what New took. An error is a listener or a part that failed, or a drain
// that did not end in time.
func (s *Server) Run(ctx context.Context) error {
	defer s.release()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var parts sync.WaitGroup
	failed := make(chan error, 3)
	start := func(name string, run func() error) {
		parts.Go(func() {
			if err := run(); err != nil && ctx.Err() == nil {
				failed <- fmt.Errorf("run %s: %w", name, err)
			}
		})
	}
	start("HTTP server", func() error { return s.http.Serve(s.listener) })
	start("API", func() error { return s.api.Run(ctx) })
	start("upkeep", func() error { return s.upkeep(ctx) })
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	cancel()
	err = errors.Join(err, s.drain())
	parts.Wait()
	return err
}

// drain ends all connections. New ones are refused at once; a request that is
// still being sent holds up nobody else's goodbye.
func (s *Server) drain() error {
	ctx, cancel := context.WithTimeout(context.Background(), DrainLimit)
	defer cancel()
	shut := make(chan error, 1)
	go func() { shut <- s.http.Shutdown(ctx) }()
	err := s.api.Close(ctx)
	s.agents.Close()
	err = errors.Join(err, <-shut)
	// Relayed sessions have no end to wait for; what is in flight gets a moment.
	flush, stop := context.WithTimeout(ctx, relayFlush)
	defer stop()
	err = errors.Join(err, s.relay.Close(flush))
	if err == nil {
		return nil
	}
	s.http.Close()
	return fmt.Errorf("drain connections: %w", err)
}

// Close gives back what New took, for a server that never ran.
func (s *Server) Close() { s.release() }

func (s *Server) release() {
	if s.agents != nil {
		s.agents.Close()
	}
	if s.listener != nil {
		s.listener.Close()
	}
	if s.stun != nil {
		s.stun.Close()
	}
	if s.store != nil {
		s.store.Close()
	}
	if s.lock != nil {
		s.lock.Close()
	}
}

func (s *Server) relayKey(ctx context.Context) (key.NodePrivate, error) {
	raw, err := s.store.ServerSecret(ctx, store.SecretRelayKey, 32)
	if err != nil {
		return key.NodePrivate{}, err
	}
	return nodePrivate(raw)
}
