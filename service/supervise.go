package service

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/causewayhq/causeway/proto/localv1"
	"github.com/causewayhq/causeway/tunnel"
)

// A tunnel that fails is tried again after firstPause, then twice as long each
// time up to lastPause, each shortened by up to a quarter at random. One that
// ran for steady starts from the beginning. Tunnels retry their own connections;
// this is for what they cannot mend, such as a missing device.
const (
	firstPause = time.Second
	lastPause  = 30 * time.Second
	steady     = time.Minute
)

// handedOver says that the context ended for the next process to go on.
func handedOver(ctx context.Context) bool { return errors.Is(context.Cause(ctx), tunnel.ErrHandover) }

// supervise runs a tunnel whenever the user wants one, until the context ends
// and the tunnel has gone, with its device unless the next process takes it.
func (s *Service) supervise(ctx context.Context) {
	var behind *Profile // whose tunnel failed, and left the host for its next
	defer func() {
		if !handedOver(ctx) {
			s.putBack(ctx, behind)
			s.release()
		}
	}()
	wait := firstPause
	for ctx.Err() == nil {
		wants := s.wants.next()
		profile, options, number := s.wanted()
		if behind != nil && (profile == nil || !profile.sameTunnel(*behind)) {
			s.putBack(ctx, behind)
			behind = nil
		}
		if profile == nil {
			s.release()
			s.settleAt(number, nil)
			sleep(ctx, wants, 0)
			continue
		}
		began := time.Now()
		err := s.runTunnel(ctx, *profile, options, number, wants)
		behind = profile
		if err == nil {
			behind, wait = nil, firstPause
			continue
		}
		if time.Since(began) >= steady {
			wait = firstPause
		}
		s.config.Logger.Error("tunnel failed", slog.Any("error", err), slog.Duration("retry", wait))
		s.settleAt(number, problemOf(err))
		sleep(ctx, wants, wait-rand.N(wait/4))
		wait = min(2*wait, lastPause)
	}
}

// wanted is the profile that a tunnel is wanted for, nil for none, with the
// tunnel's options, and the number of the request that says so.
func (s *Service) wanted() (*Profile, Options, uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	options := Options{Telemetry: s.options.Telemetry, DNSForwarder: s.options.Forwarder}
	if !s.wantsTunnel() {
		return nil, options, s.asked
	}
	wanted := s.onMachine(*s.state.profile())
	return &wanted, options, s.asked
}

// settleAt notes that no tunnel runs, as of that request, and why.
func (s *Service) settleAt(number uint64, trouble *localv1.Problem) {
	s.mu.Lock()
	// A tunnel that went on as asked later has settled more than it began with.
	s.tunnel, s.settled, s.trouble = nil, max(s.settled, number), trouble
	s.mu.Unlock()
	s.changed.wake()
}

// goesOn notes that the running tunnel is what that request wants.
func (s *Service) goesOn(number uint64) {
	s.mu.Lock()
	s.settled = number
	s.mu.Unlock()
	s.changed.wake()
}

// runTunnel runs one tunnel until the user wants something else or the context
// ends, which is nil, or until it fails. The tunnel has gone when it returns.
func (s *Service) runTunnel(ctx context.Context, profile Profile, options Options, number uint64, wants <-chan struct{}) error {
	running := s.config.NewTunnel(profile, options, s.os)
	runCtx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	changed := running.Changed()
	ended := make(chan error, 1)
	go func() { ended <- running.Run(runCtx) }()

	s.mu.Lock()
	s.tunnel, s.settled, s.trouble, s.residue = running, number, nil, nil
	s.mu.Unlock()
	s.changed.wake()
	defer func() {
		s.mu.Lock()
		s.tunnel = nil
		s.mu.Unlock()
		s.changed.wake()
	}()
	for {
		select {
		case <-changed:
			changed = running.Changed()
			s.changed.wake()
			continue
		case err := <-ended:
			if ctx.Err() == nil && err == nil {
				err = errors.New("run tunnel: it ended by itself")
			}
			if ctx.Err() != nil {
				s.leftBehind(err)
				return nil
			}
			return err
		case <-wants:
			// A request wakes after it is written down, so this may be the very
			// one that the tunnel was started for.
			wants = s.wants.next()
			now, with, asked := s.wanted()
			if asked == number {
				continue
			}
			if now != nil && with == options && now.sameTunnel(profile) {
				profile, number = *now, asked
				running.SetToken(now.Token)
				s.goesOn(number)
				continue
			}
		case <-ctx.Done():
			// We may be awake before it has reached the tunnel's context, which
			// must not miss the cause.
			stop(context.Cause(ctx))
		}
		stop(nil)
		s.leftBehind(<-ended)
		return nil
	}
}

// putBack takes away what a failed tunnel, if there is one, left on the host for
// its next, which nobody wants.
func (s *Service) putBack(ctx context.Context, behind *Profile) {
	if behind == nil {
		return
	}
	s.mu.Lock()
	s.residue = nil
	s.mu.Unlock()
	s.leftBehind(cleanUp(ctx, s.os))
}

// leftBehind keeps what a stopped tunnel could not take off the host.
func (s *Service) leftBehind(err error) {
	if err == nil || errors.Is(err, context.Canceled) {
		return
	}
	s.config.Logger.Error("tunnel not removed", slog.Any("error", err))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.residue = &localv1.Problem{
		Code:   "host-not-restored",
		Cause:  "take tunnel down: " + inOneLine(err),
		Remedy: "stop causewayd, then " + runAsAdmin + "causewayd cleanup",
	}
}

// problemOf puts a tunnel's failure into a problem.
func problemOf(err error) *localv1.Problem {
	var device *Error
	if errors.As(err, &device) && device.Failure == FailureTUN {
		return &localv1.Problem{Code: "tun-failed", Cause: inOneLine(device), Remedy: device.Remedy}
	}
	return &localv1.Problem{
		Code:   "tunnel-failed",
		Cause:  inOneLine(err),
		Remedy: "it is tried again by itself; if it stays, look at the daemon's log (" + daemonLog + ")",
	}
}

// inOneLine puts several causes, which errors.Join has on a line each, one after
// the other.
func inOneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// sleep waits for the time (0: no limit), the wake-up or the context's end.
func sleep(ctx context.Context, wake <-chan struct{}, d time.Duration) {
	var expired <-chan time.Time
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		expired = timer.C
	}
	select {
	case <-wake:
	case <-expired:
	case <-ctx.Done():
	}
}
