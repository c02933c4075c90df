package tailnet

import (
	"context"
	"errors"
	"hash/maphash"
	"log/slog"
	"sync"
)

// levelCritical is above slog's levels: somebody who decides about our peers
// says what cannot be.
const levelCritical = slog.LevelError + 4

// maxRefusals bounds how many different refusals are written. Whoever finds
// more ways of being wrong is not worth a log that fills the disk.
const maxRefusals = 512

// warning is of something that may well happen, in contrast to a lie.
type warning struct{ error }

func (w warning) Unwrap() error { return w.error }

// refusals writes each refused update once, however often it is repeated.
type refusals struct {
	logger *slog.Logger

	mu   sync.Mutex
	seed maphash.Seed
	seen map[uint64]struct{}
}

func newRefusals(logger *slog.Logger) *refusals {
	return &refusals{logger: logger, seed: maphash.MakeSeed(), seen: map[uint64]struct{}{}}
}

func (r *refusals) write(problems []error) {
	for _, problem := range problems {
		text := problem.Error()
		sum := maphash.String(r.seed, text)
		r.mu.Lock()
		_, known := r.seen[sum]
		full := len(r.seen) >= maxRefusals
		if !known && !full {
			r.seen[sum] = struct{}{}
		}
		last := !known && len(r.seen) == maxRefusals && !full
		r.mu.Unlock()
		if known || full {
			continue
		}
		level, message := levelCritical, "peer update refused"
		if errors.As(problem, new(warning)) {
			level, message = slog.LevelWarn, "peer update is doubtful"
		}
		r.logger.LogAttrs(context.Background(), level, message, slog.String("error", text))
		if last {
			r.logger.LogAttrs(context.Background(), levelCritical, "further refused peer updates are not written", slog.Int("written", maxRefusals))
		}
	}
}
