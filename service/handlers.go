package service

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

// APIVersion is the local API's version: clients refuse a daemon of another.
const APIVersion = 1

const (
	// watchPause is the least time between two messages of a watch; a storm of
	// changes becomes four messages a second.
	watchPause = 250 * time.Millisecond
	// watchTick is how often a watch looks for changes that wake nobody, such
	// as byte counts and handshake times.
	watchTick = 2 * time.Second
)

// GetStatus tells what is known now.
func (s *Service) GetStatus(context.Context, *localv1.GetStatusRequest) (*localv1.Status, error) {
	return s.status(), nil
}

// WatchStatus sends the full status, and again whenever it differs, for as long
// as the caller may read it: somebody else may sign in meanwhile.
func (s *Service) WatchStatus(_ *localv1.GetStatusRequest, stream localv1.DRPCLocal_WatchStatusStream) error {
	ctx := stream.Context()
	var sent *localv1.Status
	for ctx.Err() == nil {
		changed := s.changed.next()
		status := s.status()
		// After the status was taken, so that it is not the next owner's.
		if caller, known := localapi.CallerFrom(ctx); known {
			if err := s.rule().Authorize(caller, localapi.Read); err != nil {
				return err
			}
		}
		if !sameStatus(status, sent) {
			if err := stream.Send(status); err != nil {
				return fmt.Errorf("send status: %w", err)
			}
			sent = status
			sleep(ctx, nil, watchPause)
		}
		sleep(ctx, changed, watchTick)
	}
	return ctx.Err()
}

// sameStatus leaves out a time that is "now" while the control plane is
// connected, and would make every status new.
func sameStatus(a, b *localv1.Status) bool {
	if a.GetControlConnected() && b.GetControlConnected() {
		a, b = proto.CloneOf(a), proto.CloneOf(b)
		a.WorkspacesAsOf, b.WorkspacesAsOf = nil, nil
	}
	return proto.Equal(a, b)
}

// Up wants the tunnel; it returns before the tunnel is connected. Asking again
// while the daemon waits before its next try makes it try at once.
func (s *Service) Up(context.Context, *localv1.UpRequest) (*localv1.UpResponse, error) {
	s.mu.Lock()
	signedOut, owner, up, tunnel := s.state.profile == nil, s.state.owner, s.state.up, s.tunnel
	s.mu.Unlock()
	if signedOut {
		return nil, notSignedIn(owner)
	}
	if up && tunnel != nil {
		tunnel.Kick()
		return &localv1.UpResponse{}, nil
	}
	if _, err := s.change(func(next *state) { next.up = true }); err != nil {
		return nil, err
	}
	s.config.Logger.Info("tunnel wanted up")
	return &localv1.UpResponse{}, nil
}

// Down takes the tunnel down, and returns when the host is as it was.
func (s *Service) Down(ctx context.Context, _ *localv1.DownRequest) (*localv1.DownResponse, error) {
	number, err := s.change(func(next *state) { next.up = false })
	if err != nil {
		return nil, err
	}
	s.config.Logger.Info("tunnel wanted down")
	if err := s.stopped(ctx, number); err != nil {
		return nil, err
	}
	return &localv1.DownResponse{}, nil
}

// stopped waits for a tunnel to go, and reports what it left.
func (s *Service) stopped(ctx context.Context, number uint64) error {
	if err := s.settle(ctx, number); err != nil {
		return fmt.Errorf("wait for the tunnel to stop: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.residue == nil {
		return nil
	}
	return &localapi.Error{Code: localapi.CodeGeneric, Cause: s.residue.GetCause(), Remedy: s.residue.GetRemedy()}
}

// Ping reaches an agent through the tunnel.
func (s *Service) Ping(ctx context.Context, in *localv1.PingRequest) (*localv1.PingReply, error) {
	tunnel, err := s.running()
	if err != nil {
		return nil, err
	}
	return tunnel.Ping(ctx, in.GetName())
}

// QueryDNS answers as the tunnel's resolver does.
func (s *Service) QueryDNS(_ context.Context, in *localv1.QueryDNSRequest) (*localv1.QueryDNSResponse, error) {
	tunnel, err := s.running()
	if err != nil {
		return nil, err
	}
	return &localv1.QueryDNSResponse{Message: tunnel.Query(in.GetMessage())}, nil
}

// GetVersion tells the daemon's version to everybody.
func (s *Service) GetVersion(context.Context, *localv1.GetVersionRequest) (*localv1.GetVersionResponse, error) {
	return &localv1.GetVersionResponse{Version: s.config.Version, Api: APIVersion}, nil
}

// running is the tunnel, or why there is none.
func (s *Service) running() (Tunnel, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.tunnel != nil:
		return s.tunnel, nil
	case s.state.profile == nil:
		return nil, notSignedIn(s.state.owner)
	case !s.state.up:
		return nil, &localapi.Error{Code: localapi.CodeDegraded, Cause: "use the tunnel: it is down", Remedy: "run: causeway up --wait"}
	case s.trouble != nil:
		return nil, &localapi.Error{Code: localapi.CodeDegraded, Cause: s.trouble.GetCause(), Remedy: s.trouble.GetRemedy()}
	}
	return nil, &localapi.Error{Code: localapi.CodeDegraded, Cause: "use the tunnel: it is starting", Remedy: "run: causeway up --wait"}
}

// notSignedIn says how to sign in: only root may while nobody owns the tunnel.
func notSignedIn(owner *localapi.User) error {
	remedy := "run: causeway login <url>"
	if owner == nil {
		remedy = "run: sudo causeway login <url>"
	}
	return &localapi.Error{Code: localapi.CodeNotSignedIn, Cause: "use the tunnel: nobody has signed in", Remedy: remedy}
}

// status puts what the tunnel measures and what the user wants together.
func (s *Service) status() *localv1.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	status := &localv1.Status{}
	if s.tunnel != nil {
		// A copy: the tunnel's own message may be one that it gives to others.
		status = proto.CloneOf(s.tunnel.Status())
	}
	status.Version = s.config.Version
	status.WantedUp = s.state.up
	if s.state.owner != nil && s.state.owner.SID == "" {
		status.OwnerUid = proto.Uint32(s.state.owner.UID)
	}
	if p := s.state.profile; p != nil {
		status.Url, status.User = p.URL.Redacted(), p.User
	}
	if s.residue != nil {
		status.Problems = append(status.Problems, s.residue)
	}
	if s.tunnel == nil {
		status.State = s.stateWithoutTunnel()
		if s.trouble != nil {
			status.Problems = append(status.Problems, s.trouble)
		}
	}
	return status
}

func (s *Service) stateWithoutTunnel() localv1.State {
	switch {
	case s.state.profile == nil:
		return localv1.State_SIGNED_OUT
	case !s.state.up:
		return localv1.State_DOWN
	case s.trouble != nil:
		return localv1.State_FAILED
	}
	return localv1.State_STARTING
}

// logOwner logs a change of who may operate, which is worth a line.
func (s *Service) logOwner(user string, owner localapi.User) {
	s.config.Logger.Info("signed in", slog.String("user", user), slog.String("owner", owner.String()))
}
