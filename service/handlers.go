package service

import (
	"context"
	"errors"
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

// GetStatus tells what is known now, and who may not read only whose it is.
func (s *Service) GetStatus(ctx context.Context, _ *localv1.GetStatusRequest) (*localv1.Status, error) {
	return s.statusFor(ctx), nil
}

// WatchStatus sends the full status, and again whenever it differs. How much of
// it the caller sees is decided each time: somebody else may have the tunnel
// meanwhile.
func (s *Service) WatchStatus(_ *localv1.GetStatusRequest, stream localv1.DRPCLocal_WatchStatusStream) error {
	ctx := stream.Context()
	var sent *localv1.Status
	for ctx.Err() == nil {
		changed := s.changed.next()
		if status := s.statusFor(ctx); !sameStatus(status, sent) {
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

// Up wants the tunnel, of that profile if one is named; it returns before the
// tunnel is connected. Asking again while the daemon waits before its next try
// makes it try at once.
func (s *Service) Up(ctx context.Context, in *localv1.UpRequest) (*localv1.UpResponse, error) {
	who, err := s.asking(ctx)
	if err != nil {
		return nil, fmt.Errorf("take the tunnel up: %w", err)
	}
	var already Tunnel
	var wanted Profile
	_, err = s.change(func(next *state) error {
		p, err := s.pickUp(*next, who, in)
		switch {
		case err != nil:
			return err
		case p == nil || !p.signedIn():
			return s.notSignedIn(*next, who)
		}
		if err := s.mayTake(*next, who, *p, in.GetTakeOver()); err != nil {
			return err
		}
		if wanted = *p; next.up && next.active == p.ID && s.tunnel != nil {
			already = s.tunnel
			return errSame
		}
		next.activate(wanted)
		next.up = true
		return nil
	})
	switch {
	case errors.Is(err, errSame):
		already.Kick()
		return &localv1.UpResponse{}, nil
	case err != nil:
		return nil, err
	}
	s.config.Logger.Info("tunnel wanted up", slog.String("profile", wanted.Name), slog.String("owner", s.names.of(wanted.Owner)),
		slog.Bool("taken_over", in.GetTakeOver()))
	return &localv1.UpResponse{}, nil
}

// Down takes the tunnel down, and returns when the host is as it was.
func (s *Service) Down(ctx context.Context, in *localv1.DownRequest) (*localv1.DownResponse, error) {
	who, err := s.asking(ctx)
	if err != nil {
		return nil, fmt.Errorf("take the tunnel down: %w", err)
	}
	number, err := s.change(func(next *state) error {
		// The call was let in a moment ago; the tunnel may be another's by now.
		if holder, held := next.holder(); held && holder != who.user && !who.admin {
			return &localapi.Error{
				Code: localapi.CodePermission, Cause: fmt.Sprintf("take the tunnel down: it belongs to %s", s.names.of(holder)),
				Remedy: "ask them, or " + runAsAdmin + "causeway down",
			}
		}
		next.up = false
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.config.Logger.Info("tunnel wanted down", slog.String("by", s.names.of(who.user)), slog.String("reason", quoteForeign(in.GetReason())))
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
	case !s.signedInLocked():
		return nil, errSignedOut
	case !s.state.up:
		return nil, &localapi.Error{Code: localapi.CodeDegraded, Cause: "use the tunnel: it is down", Remedy: "run: causeway up --wait"}
	case !s.wantsTunnel():
		return nil, &localapi.Error{Code: localapi.CodeDegraded, Cause: "use the tunnel: it waits for its owner to log in", Remedy: "log in to this machine, or sign in again with --connect-at boot"}
	case s.trouble != nil:
		return nil, &localapi.Error{Code: localapi.CodeDegraded, Cause: s.trouble.GetCause(), Remedy: s.trouble.GetRemedy()}
	}
	return nil, &localapi.Error{Code: localapi.CodeDegraded, Cause: "use the tunnel: it is starting", Remedy: "run: causeway up --wait"}
}

// errSignedOut is for who has the tunnel, and may therefore sign in.
var errSignedOut = &localapi.Error{Code: localapi.CodeNotSignedIn, Cause: "use the tunnel: nobody has signed in", Remedy: "run: causeway login <url>"}

// signedInLocked says whether the active profile has credentials.
func (s *Service) signedInLocked() bool {
	p := s.state.profile()
	return p != nil && p.signedIn()
}

// notSignedIn says how to sign in: who is no operator needs an administrator.
func (s *Service) notSignedIn(now state, who asking) error {
	failed := *errSignedOut
	if len(now.of(who.user)) == 0 && !who.admin && !now.operator(who.user) {
		failed.Remedy = runAsAdmin + "causeway login <url>"
	}
	return &failed
}

// status puts what the tunnel measures and what the user wants together.
func (s *Service) status() *localv1.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.statusLocked()
}

func (s *Service) statusLocked() *localv1.Status {
	status := &localv1.Status{}
	if s.tunnel != nil {
		// A copy: the tunnel's own message may be one that it gives to others.
		status = proto.CloneOf(s.tunnel.Status())
	}
	status.Version = s.config.Version
	status.WantedUp = s.state.up
	if p := s.state.profile(); p != nil {
		status.Profile, status.Url, status.Owner, status.OwnerSid = p.Name, p.URL.Redacted(), s.names.of(p.Owner), p.Owner.SID
		if p.Owner.SID == "" {
			status.OwnerUid = proto.Uint32(p.Owner.UID)
		}
		if p.signedIn() {
			status.User, status.TokenExpiresAt, status.WorkspacePages = p.User, timeMessage(p.Expires), true // Coder's and ours have them
			if problem := expiryProblem(*p, time.Now()); problem != nil && !saysSignedOut(status.GetProblems()) {
				status.Problems = append(status.Problems, problem)
				if problem.GetCode() == codeExpired && status.GetState() == localv1.State_CONNECTED {
					// Names and sessions go on, until the control connection is cut.
					status.State = localv1.State_DEGRADED
				}
			}
		}
	}
	status.WaitsForLogin = s.state.wantsTunnel() && !s.wantsTunnel()
	if s.residue != nil {
		status.Problems = append(status.Problems, s.residue)
	}
	if s.tunnel == nil {
		status.State = s.stateWithoutTunnel()
		if s.trouble != nil {
			status.Problems = append(status.Problems, s.trouble)
		}
		if lacks := s.lacking(); lacks != nil {
			status.Problems = append(status.Problems, lacks)
		}
	}
	return status
}

func (s *Service) stateWithoutTunnel() localv1.State {
	switch {
	case s.lacking() != nil:
		return localv1.State_FAILED
	case !s.signedInLocked():
		return localv1.State_SIGNED_OUT
	case !s.wantsTunnel():
		return localv1.State_DOWN
	case s.trouble != nil:
		return localv1.State_FAILED
	}
	return localv1.State_STARTING
}
