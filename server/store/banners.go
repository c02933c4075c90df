package store

import (
	"context"
	"fmt"
)

// Banner is what people read before they work in a workspace.
type Banner struct {
	Enabled bool
	Message string
	// BackgroundColor is "#" and six hexadecimal digits, or "".
	BackgroundColor string
}

// Banners lists the deployment's banners in their order.
func (s *Store) Banners(ctx context.Context) ([]Banner, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT enabled, message, background_color FROM announcement_banners ORDER BY position")
	list, err := collect(rows, err, func(row scanner) (Banner, error) {
		var banner Banner
		err := row.Scan(&banner.Enabled, &banner.Message, &banner.BackgroundColor)
		return banner, err
	})
	if err != nil {
		return nil, fmt.Errorf("list banners: %w", err)
	}
	return list, nil
}

// SetBanners replaces all banners.
func (s *Store) SetBanners(ctx context.Context, banners []Banner) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("set banners: %w", storageCause(err))
	}
	defer tx.Rollback() //nolint:errcheck // after a commit there is nothing to roll back
	if _, err := tx.ExecContext(ctx, "DELETE FROM announcement_banners"); err != nil {
		return fmt.Errorf("set banners: %w", storageCause(err))
	}
	for position, banner := range banners {
		_, err := tx.ExecContext(ctx, "INSERT INTO announcement_banners (position, enabled, message, background_color) VALUES ($1, $2, $3, $4)",
			position, banner.Enabled, banner.Message, banner.BackgroundColor)
		if err != nil {
			return fmt.Errorf("set banners: %w", storageCause(err))
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("set banners: %w", storageCause(err))
	}
	return nil
}
