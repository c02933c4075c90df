package service

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/causewayhq/causeway/config"
	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

// SetLogLevel changes what is logged until the daemon ends, or for a time, and
// then the setting counts again.
func (s *Service) SetLogLevel(_ context.Context, in *localv1.SetLogLevelRequest) (*localv1.SetLogLevelResponse, error) {
	var level slog.Level
	if name := in.GetLevel(); name != "" {
		if err := config.ParseLevel(name, &level); err != nil {
			return nil, &localapi.Error{Code: localapi.CodeUsage, Cause: fmt.Sprintf("set log level: %s", err), Remedy: "give one of debug, info, warn, error"}
		}
	}
	if in.GetFor() != nil && (in.GetFor().CheckValid() != nil || in.GetFor().AsDuration() <= 0) {
		return nil, &localapi.Error{Code: localapi.CodeUsage, Cause: "set log level: the time is not positive", Remedy: "give a time such as 10m"}
	}
	if s.config.LogLevel == nil {
		return nil, &localapi.Error{Code: localapi.CodeGeneric, Cause: "set log level: this daemon's log has a fixed level", Remedy: "set log-level in the settings file, and restart causewayd"}
	}
	s.mu.Lock()
	if s.levelEnds != nil {
		s.levelEnds()
		s.levelEnds = nil
	}
	if in.GetLevel() == "" {
		s.config.LogLevel.Set(s.options.LogLevel)
	} else {
		s.config.LogLevel.Set(level)
		s.levelEnds = func() {}
		if in.GetFor() != nil {
			s.levelEnds = s.endLevelIn(in.GetFor().AsDuration())
		}
	}
	now := s.config.LogLevel.Level()
	s.mu.Unlock()
	s.config.Logger.Info("log level set", slog.String("level", now.String()), slog.Duration("for", in.GetFor().AsDuration()))
	return &localv1.SetLogLevelResponse{}, nil
}

// endLevelIn puts the setting back after a while; what it returns forgets that.
// The caller holds mu.
func (s *Service) endLevelIn(after time.Duration) (forget func()) {
	forgotten := false
	timer := time.AfterFunc(after, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if forgotten {
			return
		}
		s.levelEnds = nil
		s.config.LogLevel.Set(s.options.LogLevel)
	})
	return func() {
		forgotten = true
		timer.Stop()
	}
}
