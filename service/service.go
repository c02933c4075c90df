package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"github.com/causewayhq/causeway/client"
	"github.com/causewayhq/causeway/config"
	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/netcfg"
	"github.com/causewayhq/causeway/proto/localv1"
)

// Verify asks the deployment who the profile's token belongs to, and Revoke has
// it end the token.
type (
	Verify func(context.Context, Profile) (client.User, error)
	Revoke func(context.Context, Profile) error
)

// Config is what the daemon is made of. What may be nil says so.
type Config struct {
	Logger   *slog.Logger
	StateDir string
	Socket   string
	Version  string
	// OpenOS opens this host's platform; the state directory exists by then.
	OpenOS    func() (netcfg.OS, error)
	NewTunnel NewTunnel
	Verify    Verify
	Revoke    Revoke
	// Preflight finds out that a tunnel could run here, before anything is
	// promised; its error is the start's.
	Preflight func() error
	// KeepGoing has the daemon start although Preflight failed, and say so in
	// its status: for service managers under which an exit tells nobody why.
	KeepGoing bool
	// Ready is called when the local API answers; nil: nobody waits for it.
	Ready func()
	// Release lets the TUN device go that is kept for the next tunnel or
	// process: nobody wants one. Nil: none is kept.
	Release func()
	// Opened is closed when a device has been opened for the first time. Nil:
	// the start waits for none.
	Opened <-chan struct{}
	// Settings are those of the start; what is set later is laid over them.
	Settings config.Values
	// LogLevel is what the logger goes by; nil: its level is fixed.
	LogLevel *slog.LevelVar
	// LookupEnv is os.LookupEnv.
	LookupEnv func(string) (string, bool)
	// Expiry asks the deployment when the profile's token ends; zero: never, or
	// it does not tell. Nil: it is not asked.
	Expiry func(context.Context, Profile) (time.Time, error)
	// Sessions tells who is logged in to this machine; nil: everybody.
	Sessions Sessions
	// LookupUser says what a local user is called; nil: the system is asked.
	LookupUser func(localapi.User) (string, error)
	// Logs is what is kept of the log; nil: nothing.
	Logs *Logs
}

// Service is the daemon. It serves the local API while Run runs.
type Service struct {
	localv1.DRPCLocalUnimplementedServer
	config Config
	os     netcfg.OS     // from the start on
	user   localapi.User // that the daemon runs as, from the start on

	// changed is woken when a status may have changed, wants when the user
	// wants something else.
	changed, wants broadcast

	names   userNames
	machine machine // from the start on

	// verifying serialises Login and Logout, so that the last to be asked is
	// the one that counts.
	verifying sync.Mutex

	mu      sync.Mutex
	state   state
	set     map[string]string // settings that were set in the running daemon
	options config.Daemon     // the settings that count now
	// levelEnds forgets a log level that is not the setting's; nil: it is.
	levelEnds func()
	presence  presence
	counts    counts
	heldSince time.Time        // when the tunnel last changed hands in this process; zero: never
	asked     uint64           // counts what the user asked for
	tunnel    Tunnel           // nil: none runs
	settled   uint64           // the value of asked that the supervisor has dealt with
	trouble   *localv1.Problem // why no tunnel runs although one is wanted
	residue   *localv1.Problem // what the last tunnel left on the host
	lacks     *localv1.Problem // what kept this machine from having a tunnel at the start
}

// New prepares the daemon; nothing is touched before Run.
func New(config Config) *Service {
	s := &Service{config: config}
	s.names = userNames{lookup: config.LookupUser, found: s.changed.wake}
	if s.names.lookup == nil {
		s.names.lookup = lookupUser
	}
	return s
}

// Run starts the daemon step by step and keeps it until the context ends; then
// the tunnel is taken down and the host is as it was. A context that ends with
// tunnel.ErrHandover leaves all of it for the next process. The error is an
// *Error.
func (s *Service) Run(ctx context.Context) error {
	var err error
	if s.user, err = localapi.CurrentUser(); err != nil {
		return fail(FailurePrivilege, "", "%w", err)
	}
	dir, err := OpenStateDir(s.config.StateDir)
	if err != nil {
		return err
	}
	defer dir.Close()
	if s.state, err = loadState(dir.Path); err != nil {
		return err
	}
	if err := s.loadSettings(); err != nil {
		return err
	}
	if holder, held := s.state.holder(); held {
		s.names.learn(holder)
	}
	listener, err := listen(s.config.Socket)
	if err != nil {
		return err
	}
	s.lookOnce(ctx)
	if err := s.prepareHost(ctx); err != nil {
		listener.Close()
		return err
	}
	defer s.os.Close()
	return s.serve(ctx, listener)
}

func listen(path string) (net.Listener, error) {
	listener, err := localapi.Listen(path)
	switch {
	case errors.Is(err, localapi.ErrServed):
		return nil, fail(FailureSocket, "stop the other daemon (Ctrl-C where it runs, or "+stopService+" where it is installed as a service), or choose another socket with --socket", "%w", err)
	case err != nil:
		return nil, fail(FailureSocket, "choose another socket with --socket, or move away what is in its place", "%w", err)
	}
	return listener, nil
}

// prepareHost makes sure that a tunnel can run, and that none is left over
// from a crash when none is wanted. If one is wanted, it adopts what is there.
func (s *Service) prepareHost(ctx context.Context) error {
	if s.config.Preflight != nil {
		if err := s.config.Preflight(); err != nil && !s.noTunnel(err) {
			// Names that somebody wants stay, for the next try.
			if !s.wantsTunnel() {
				s.giveUp(ctx)
			}
			return err
		}
	}
	var err error
	if s.os, err = s.config.OpenOS(); err != nil {
		return fail(FailureNetwork, "", "open platform: %w", err)
	}
	if s.wantsTunnel() {
		return nil
	}
	if err := cleanUp(ctx, s.os); err != nil {
		return errors.Join(fail(FailureNetwork, "run: causewayd cleanup", "undo what an earlier daemon left: %w", err), s.os.Close())
	}
	s.release()
	return nil
}

// cleanupLimit bounds a cleanup at the start, which takes well under a second.
const cleanupLimit = 8 * time.Second

// cleanUp is not cut short by a signal: what was begun is finished, and the
// daemon then ends as it was told to.
func cleanUp(ctx context.Context, host netcfg.OS) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupLimit)
	defer cancel()
	return host.Cleanup(ctx)
}

// giveUp takes away what an earlier daemon left, when no tunnel can run that
// would answer for it; the reason for that is the error that counts.
func (s *Service) giveUp(ctx context.Context) {
	host, err := s.config.OpenOS()
	if err == nil {
		err = errors.Join(cleanUp(ctx, host), host.Close())
	}
	if err != nil {
		s.config.Logger.Error("what an earlier daemon left is not undone", slog.Any("error", err))
	}
	s.release()
}

// release lets a kept device go. What the host says of it has gone before.
func (s *Service) release() {
	if s.config.Release != nil {
		s.config.Release()
	}
}

// serve runs the supervisor and the local API until the context ends.
func (s *Service) serve(ctx context.Context, listener net.Listener) error {
	// The API outlives the supervisor, so that a status can be had during a
	// shutdown that takes its time.
	apiCtx, stopAPI := context.WithCancel(context.WithoutCancel(ctx))
	defer stopAPI()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	apiEnded := make(chan error, 1)
	go func() {
		err := localapi.Serve(apiCtx, listener, s, s.rule().Authorize, s.config.Logger)
		stop()
		apiEnded <- err
	}()
	var telling sync.WaitGroup
	if s.config.Ready != nil {
		s.config.Ready()
	}
	telling.Go(func() { s.tellReady(ctx) })
	telling.Go(func() { s.keepWatchdog(ctx) })
	telling.Go(func() { s.keepPresence(ctx) })
	telling.Go(func() { s.keepExpiry(ctx) })
	telling.Go(func() { giveBack(ctx, s.changed.next, debug.FreeOSMemory) })
	telling.Go(func() { s.keepCounts(ctx) })
	s.config.Logger.Info("daemon started", slog.String("socket", s.config.Socket), slog.String("version", s.config.Version))
	// Said at once, while the tunnel is still being taken down, and said for
	// certain: the function may not have begun when the supervisor is done.
	said := make(chan struct{})
	context.AfterFunc(ctx, func() {
		defer close(said)
		s.notify("STOPPING=1")
	})
	s.supervise(ctx)
	<-said
	telling.Wait()
	stopAPI()
	if err := <-apiEnded; err != nil {
		return fail(FailureLocalAPI, "restart causewayd", "serve local API: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.residue != nil {
		return fail(FailureNetwork, s.residue.GetRemedy(), "%s", s.residue.GetCause())
	}
	s.config.Logger.Info("daemon stopped", slog.Bool("handover", handedOver(ctx)))
	return nil
}

func (s *Service) notify(text string) {
	if err := notify(s.config.LookupEnv, text); err != nil {
		s.config.Logger.Warn("service manager not told", slog.Any("error", err))
	}
}

// errSame ends a change that would change nothing.
var errSame = errors.New("nothing changes")

// change stores a new state and tells the supervisor; on an error, such as
// edit's own, the old one stays. It returns the number to give to settle.
func (s *Service) change(edit func(*state) error) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := s.state.clone()
	if err := edit(&next); err != nil {
		return 0, err
	}
	if err := saveState(s.config.StateDir, next); err != nil {
		return 0, notKept(err)
	}
	before, held := s.state.holder()
	if now, holds := next.holder(); now != before || held != holds {
		s.heldSince = time.Now()
	}
	s.state = next
	s.asked++
	s.wants.wake()
	s.changed.wake()
	return s.asked, nil
}

func notKept(err error) error {
	return &localapi.Error{
		Code: localapi.CodeGeneric, Cause: fmt.Sprintf("keep what you asked for: %s", err),
		Remedy: "make room on the disk of the state directory, and try again",
	}
}

// settle waits until the supervisor has dealt with a change.
func (s *Service) settle(ctx context.Context, number uint64) error {
	for {
		changed := s.changed.next()
		s.mu.Lock()
		done := s.settled >= number
		s.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
