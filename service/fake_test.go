package service

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/causewayhq/causeway/client"
	"github.com/causewayhq/causeway/config"
	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/netcfg"
	"github.com/causewayhq/causeway/proto/localv1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeTunnel runs until its context ends or it is told to fail.
type fakeTunnel struct {
	profile Profile
	options Options
	failure chan error
	residue error // what Run returns after its context has ended
	relay   error // what AskRelay tells
	changes broadcast
	kicks   atomic.Int32
	flushed atomic.Bool       // the last repair was of the cache alone
	tokens  chan client.Token // that it was given while it ran
	ended   chan struct{}     // closed when Run returns
	cause   error             // why its context ended; to read after that

	mu     sync.Mutex
	status *localv1.Status
}

func (t *fakeTunnel) Run(ctx context.Context) error {
	defer close(t.ended)
	select {
	case <-ctx.Done():
		t.cause = context.Cause(ctx)
		return t.residue
	case err := <-t.failure:
		return err
	}
}

func (t *fakeTunnel) Status() *localv1.Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.status
}

func (t *fakeTunnel) Brief() *localv1.Status { return t.Status() }

func (t *fakeTunnel) set(status *localv1.Status) {
	t.mu.Lock()
	t.status = status
	t.mu.Unlock()
	t.changes.wake()
}

func (t *fakeTunnel) Changed() <-chan struct{} { return t.changes.next() }

func (t *fakeTunnel) Kick() { t.kicks.Add(1) }

func (t *fakeTunnel) SetToken(token client.Token) { t.tokens <- token }

func (t *fakeTunnel) Ping(_ context.Context, name string) (*localv1.PingReply, error) {
	return &localv1.PingReply{Name: name}, nil
}

func (t *fakeTunnel) Query(message []byte) []byte { return message }

func (t *fakeTunnel) RepairNames(_ context.Context, flushOnly bool) (bool, error) {
	t.flushed.Store(flushOnly)
	return t.relay == nil, t.relay
}

func (t *fakeTunnel) MeasureNetwork(context.Context) *localv1.NetworkReport {
	return &localv1.NetworkReport{Udp: true}
}

func (t *fakeTunnel) AskRelay(context.Context) (bool, error) { return true, t.relay }

// fakeOS notes the cleanups.
type fakeOS struct {
	mu       sync.Mutex
	cleanups int
	err      error
}

func (o *fakeOS) Apply(context.Context, netcfg.Config) error            { return nil }
func (o *fakeOS) Upstreams() []netip.Addr                               { return nil }
func (o *fakeOS) Watch(ctx context.Context, _ func(netcfg.Event)) error { <-ctx.Done(); return nil }
func (o *fakeOS) Lookup(context.Context, string) ([]netip.Addr, error)  { return nil, nil }
func (o *fakeOS) DNSMode() string                                       { return "fake" }
func (o *fakeOS) Trouble() error                                        { return nil }
func (o *fakeOS) Close() error                                          { return nil }
func (o *fakeOS) Cleanup(ctx context.Context) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.cleanups++
	return errors.Join(o.err, ctx.Err())
}

// rig is a service with fakes around it.
type rig struct {
	config  Config
	os      *fakeOS
	tunnels chan *fakeTunnel
	residue error // of every tunnel

	mu          sync.Mutex
	revoked     []string // tokens
	revokeFails error
}

// settingsOf are the defaults with these flags.
func settingsOf(t *testing.T, flags map[string]string) config.Values {
	t.Helper()
	values, err := config.LoadValues(config.Sources{Flags: flags, LookupEnv: func(string) (string, bool) { return "", false }})
	if err != nil {
		t.Fatal(err)
	}
	return values
}

// testUsers are what users are called in tests.
var testUsers = map[uint32]string{4321: "alice", 4322: "bob", 4323: "carol"}

// failAll makes every tunnel fail as soon as it runs, until it is stopped.
func (r *rig) failAll(err error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var failing sync.WaitGroup
	failing.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case tunnel := <-r.tunnels:
				select {
				case tunnel.failure <- err:
				case <-ctx.Done():
					r.tunnels <- tunnel // for who comes after
					return
				}
			}
		}
	})
	return func() { cancel(); failing.Wait() }
}

// The tokens that the deployment takes: two of alice's and one of bob's.
const (
	goodToken = "good-token-9f2c"
	nextToken = "next-token-51d0"
	bobsToken = "bobs-token-77aa"
)

func newRig(t *testing.T) *rig {
	t.Helper()
	dir := t.TempDir()
	r := &rig{os: &fakeOS{}, tunnels: make(chan *fakeTunnel, 64)}
	r.config = Config{
		Logger:   slog.New(slog.DiscardHandler),
		StateDir: filepath.Join(dir, "state"),
		Socket:   filepath.Join(dir, "run", "s"),
		Version:  "v1.2.3",
		OpenOS:   func() (netcfg.OS, error) { return r.os, nil },
		NewTunnel: func(profile Profile, options Options, _ netcfg.OS) Tunnel {
			tunnel := &fakeTunnel{
				profile: profile, options: options, failure: make(chan error), residue: r.residue,
				tokens: make(chan client.Token, 8), ended: make(chan struct{}),
				status: &localv1.Status{State: localv1.State_STARTING},
			}
			r.tunnels <- tunnel
			return tunnel
		},
		LookupUser: func(user localapi.User) (string, error) {
			if name := testUsers[user.UID]; name != "" {
				return name, nil
			}
			return "", errors.New("unknown user")
		},
		Revoke: func(_ context.Context, profile Profile) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.revoked = append(r.revoked, string(profile.Token))
			return r.revokeFails
		},
		Verify: func(_ context.Context, profile Profile) (client.User, error) {
			switch profile.Token {
			case goodToken, nextToken:
				return client.User{ID: uuid.MustParse("00000000-0000-0000-0000-00000000000a"), Username: "alice"}, nil
			case bobsToken:
				return client.User{ID: uuid.MustParse("00000000-0000-0000-0000-00000000000b"), Username: "bob"}, nil
			}
			return client.User{}, &client.Error{Status: 401, Message: "no"}
		},
		LookupEnv: func(string) (string, bool) { return "", false },
		Settings:  settingsOf(t, nil),
		LogLevel:  new(slog.LevelVar),
	}
	return r
}

// start runs the service; stop ends it and gives Run's error.
func (r *rig) start(t *testing.T) (s *Service, call *localapi.Client, stop func() error) {
	t.Helper()
	s = New(r.config)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	var once sync.Once
	var runErr error
	stop = func() error {
		once.Do(func() {
			cancel()
			select {
			case runErr = <-ended:
			case <-time.After(10 * time.Second):
				runErr = errors.New("Run did not end")
			}
		})
		return runErr
	}
	t.Cleanup(func() { _ = stop() })
	deadline := time.Now().Add(10 * time.Second)
	for {
		client, err := localapi.Dial(t.Context(), r.config.Socket)
		if err == nil {
			t.Cleanup(func() { client.Close() })
			// What is read of its answer comes after all that Run has set up, also
			// for tests that call the handlers themselves.
			if _, err := client.GetVersion(t.Context(), &localv1.GetVersionRequest{}); err != nil {
				t.Fatal(err)
			}
			return s, client, stop
		}
		if time.Now().After(deadline) {
			t.Fatalf("the service does not answer: %v; Run: %v", err, stop())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (r *rig) tunnel(t *testing.T) *fakeTunnel {
	t.Helper()
	select {
	case tunnel := <-r.tunnels:
		return tunnel
	case <-time.After(10 * time.Second):
		t.Fatal("no tunnel was started")
		return nil
	}
}

func login(t *testing.T, call *localapi.Client) {
	t.Helper()
	answer, err := call.Login(t.Context(), &localv1.LoginRequest{Url: "https://coder.example.com/", Token: goodToken + "\n"})
	if err != nil || answer.GetUser() != "alice" {
		t.Fatalf("Login() = %v, %v", answer, err)
	}
}

func statusOf(t *testing.T, call *localapi.Client) *localv1.Status {
	t.Helper()
	status, err := call.GetStatus(t.Context(), &localv1.GetStatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return status
}
