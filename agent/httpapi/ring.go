package httpapi

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
)

const (
	// keptLog is what is kept of the log (docs of the protocol, 5.4).
	keptLog = 10 << 20
	// chunkSize is how much of it goes at once, when there is more.
	chunkSize = 64 << 10
)

// Ring keeps the last 10 MB of the log, in memory: what it holds is gone with the
// process, as is the fault that one looks for. The memory is taken as it fills.
type Ring struct {
	// everything: lines of level debug too, whatever the handler's own level is.
	everything atomic.Bool

	mu sync.Mutex
	// chunks are of whole lines; what is in them stays as it is.
	chunks [][]byte
	size   int
	lines  uint64
}

// Handler keeps what it is given, from a level on, and passes on what next wants.
func (r *Ring) Handler(next slog.Handler, from slog.Level) slog.Handler {
	return &tee{ring: r, kept: slog.NewTextHandler(r, &slog.HandlerOptions{Level: slog.LevelDebug}), from: from, next: next}
}

// SetEverything keeps lines of level debug from everybody, or no longer.
func (r *Ring) SetEverything(on bool) { r.everything.Store(on) }

// Write takes one line. A line longer than a chunk is cut.
func (r *Ring) Write(line []byte) (int, error) {
	length := len(line)
	if length > chunkSize {
		line = append(bytes.Clone(line[:chunkSize-1]), '\n')
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	last := len(r.chunks) - 1
	if last < 0 || len(r.chunks[last])+len(line) > chunkSize {
		r.chunks = append(r.chunks, make([]byte, 0, chunkSize))
		last++
	}
	r.chunks[last] = append(r.chunks[last], line...)
	r.size += len(line)
	r.lines++
	for r.size > keptLog {
		r.size -= len(r.chunks[0])
		r.chunks[0] = nil
		r.chunks = r.chunks[1:]
	}
	return length, nil
}

// WriteTo writes what is kept at this moment, oldest first.
func (r *Ring) WriteTo(w io.Writer) (int64, error) {
	r.mu.Lock()
	chunks := append([][]byte{}, r.chunks...)
	r.mu.Unlock()
	var written int64
	for _, chunk := range chunks {
		count, err := w.Write(chunk)
		written += int64(count)
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

// count is how many lines there were since the start.
func (r *Ring) count() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lines
}

// tee is a handler of two.
type tee struct {
	ring *Ring
	kept slog.Handler
	from slog.Level
	next slog.Handler
}

func (t *tee) keeps(level slog.Level) bool {
	return level >= t.from || level >= slog.LevelDebug && t.ring.everything.Load()
}

func (t *tee) Enabled(ctx context.Context, level slog.Level) bool {
	return t.keeps(level) || t.next.Enabled(ctx, level)
}

func (t *tee) Handle(ctx context.Context, record slog.Record) error {
	if t.keeps(record.Level) {
		_ = t.kept.Handle(ctx, record) // memory takes everything
	}
	if t.next.Enabled(ctx, record.Level) {
		return t.next.Handle(ctx, record)
	}
	return nil
}

func (t *tee) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &tee{ring: t.ring, kept: t.kept.WithAttrs(attrs), from: t.from, next: t.next.WithAttrs(attrs)}
}

func (t *tee) WithGroup(name string) slog.Handler {
	return &tee{ring: t.ring, kept: t.kept.WithGroup(name), from: t.from, next: t.next.WithGroup(name)}
}
