package server

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/causewayhq/causeway/server/store"
	tailnetsvc "github.com/causewayhq/causeway/server/tailnet"
)

// ResumeRotation gives resume tokens a new key each month. An old key is kept
// for twice the life of a token: a server that was told late of a new key, or
// whose clock is a few hours off, has signed with the old one meanwhile.
var ResumeRotation = store.Rotation{Every: 30 * 24 * time.Hour, Keep: 2 * tailnetsvc.ResumeLife}

const (
	// upkeepInterval is how late a key is renewed or a token's row dropped.
	upkeepInterval = time.Hour
	// tokenMemory is how long an ended token's row is kept, so that its holder
	// is told why it is refused and not that it is unknown.
	tokenMemory = 90 * 24 * time.Hour
)

// upkeep does what is due with time, until the context ends. What fails is tried
// again an hour later: nothing here is urgent.
func (s *Server) upkeep(ctx context.Context) error {
	ticker := time.NewTicker(upkeepInterval)
	defer ticker.Stop()
	for {
		s.tend(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (s *Server) tend(ctx context.Context) {
	if err := s.refreshResumeKeys(ctx); err != nil && ctx.Err() == nil {
		s.config.Logger.Error("renewal of resume keys failed", slog.Any("error", err))
	}
	if err := s.store.PruneTokens(ctx, time.Now().Add(-tokenMemory)); err != nil && ctx.Err() == nil {
		s.config.Logger.Error("removal of ended tokens failed", slog.Any("error", err))
	}
	if err := s.store.PruneSignIn(ctx); err != nil && ctx.Err() == nil {
		s.config.Logger.Error("removal of ended sessions failed", slog.Any("error", err))
	}
	if err := s.store.PruneReports(ctx); err != nil && ctx.Err() == nil {
		s.config.Logger.Error("removal of old reports failed", slog.Any("error", err))
	}
}

// storeChanged takes over what a subcommand may have changed.
func (s *Server) storeChanged(ctx context.Context) {
	if err := s.refreshResumeKeys(ctx); err != nil && ctx.Err() == nil {
		s.config.Logger.Error("reading resume keys failed", slog.Any("error", err))
	}
}

// refreshResumeKeys uses the keys that are stored, after a rotation if one is due.
func (s *Server) refreshResumeKeys(ctx context.Context) error {
	stored, err := s.store.ResumeKeys(ctx, ResumeRotation)
	if err != nil {
		return err
	}
	keys := make([]tailnetsvc.Key, 0, len(stored))
	for _, key := range stored {
		keys = append(keys, tailnetsvc.Key{ID: key.ID, Secret: key.Secret})
	}
	if err := s.resume.Replace(keys...); err != nil {
		return fmt.Errorf("renew resume keys: %w", err)
	}
	return nil
}
