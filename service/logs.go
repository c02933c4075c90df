package service

import (
	"context"
	"encoding"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// The limits of what is kept of the log in memory, for people who ask the daemon
// rather than the service manager. At the usual 100 to 300 bytes for an entry the
// number is what counts: some hours of a quiet daemon, some minutes at debug.
const (
	maxLogEntries = 2048
	maxLogBytes   = 1 << 20
	// maxLogText is kept of one message or value.
	maxLogText = 4 << 10
	// logOverhead is what an entry costs beside its texts, in bytes.
	logOverhead = 80
)

// Logs keeps the newest entries of the daemon's log. Watchers read it at their
// own pace; writing to it never waits for them. Safe for concurrent use.
type Logs struct {
	written broadcast

	mu      sync.Mutex
	entries [maxLogEntries]logEntry // by number, modulo their count
	first   uint64                  // number of the oldest that is kept
	next    uint64                  // number of the next to come
	bytes   int                     // of what is kept
}

// logEntry is not changed once it is kept.
type logEntry struct {
	time    time.Time
	level   slog.Level
	message string
	fields  []logField
	size    int
}

type logField struct{ name, value string }

// NewLogs keeps nothing yet.
func NewLogs() *Logs { return &Logs{} }

// Tee is a handler that logs to another one, and keeps what that one takes.
func (l *Logs) Tee(handler slog.Handler) slog.Handler { return &logTee{logs: l, next: handler} }

// add makes room and keeps an entry.
func (l *Logs) add(entry logEntry) {
	l.mu.Lock()
	for l.first < l.next && (l.next-l.first == maxLogEntries || l.bytes+entry.size > maxLogBytes) {
		oldest := &l.entries[l.first%maxLogEntries]
		l.bytes -= oldest.size
		*oldest = logEntry{}
		l.first++
	}
	l.entries[l.next%maxLogEntries] = entry
	l.next++
	l.bytes += entry.size
	l.mu.Unlock()
	l.written.wake()
}

// read copies entries from that number on into the slice. It returns them, the
// number to go on with, and how many before them are not kept any more.
func (l *Logs) read(from uint64, into []logEntry) (found []logEntry, next, lost uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if from < l.first {
		from, lost = l.first, l.first-from
	}
	found = into[:0]
	for from < l.next && len(found) < cap(into) {
		found = append(found, l.entries[from%maxLogEntries])
		from++
	}
	return found, from, lost
}

// oldest is the number of the oldest entry that is kept.
func (l *Logs) oldest() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.first
}

// logTee is the handler. What is fixed for a logger is written out once.
type logTee struct {
	logs   *Logs
	next   slog.Handler
	group  string // with its dot
	fields []logField
}

// Enabled is what the other handler says.
func (t *logTee) Enabled(ctx context.Context, level slog.Level) bool {
	return t.next.Enabled(ctx, level)
}

// Handle keeps the record and passes it on.
func (t *logTee) Handle(ctx context.Context, record slog.Record) error {
	entry := logEntry{
		time: record.Time, level: record.Level, message: cutLog(record.Message),
		fields: make([]logField, len(t.fields), len(t.fields)+record.NumAttrs()),
	}
	copy(entry.fields, t.fields)
	record.Attrs(func(attr slog.Attr) bool {
		entry.fields = appendLog(entry.fields, t.group, attr)
		return true
	})
	entry.size = logOverhead + len(entry.message)
	for _, field := range entry.fields {
		entry.size += len(field.name) + len(field.value)
	}
	t.logs.add(entry)
	return t.next.Handle(ctx, record)
}

// WithAttrs is for a logger with these attributes.
func (t *logTee) WithAttrs(attrs []slog.Attr) slog.Handler {
	copied := *t
	copied.next, copied.fields = t.next.WithAttrs(attrs), slices.Clone(t.fields)
	for _, attr := range attrs {
		copied.fields = appendLog(copied.fields, t.group, attr)
	}
	return &copied
}

// WithGroup is for a logger whose attributes are in a group.
func (t *logTee) WithGroup(name string) slog.Handler {
	if name == "" {
		return t
	}
	copied := *t
	copied.next, copied.group = t.next.WithGroup(name), t.group+name+"."
	return &copied
}

func appendLog(fields []logField, group string, attr slog.Attr) []logField {
	value := attr.Value.Resolve() // types that hold secrets say here what they show
	if value.Kind() == slog.KindGroup {
		if attr.Key != "" {
			group += attr.Key + "."
		}
		for _, inner := range value.Group() {
			fields = appendLog(fields, group, inner)
		}
		return fields
	}
	if attr.Equal(slog.Attr{}) {
		return fields
	}
	return append(fields, logField{group + attr.Key, cutLog(logText(value))})
}

// logText is a value as slog's own text handler writes it.
func logText(value slog.Value) string {
	switch value.Kind() {
	case slog.KindTime:
		return value.Time().Format(time.RFC3339Nano)
	case slog.KindAny:
		if marshaler, ok := value.Any().(encoding.TextMarshaler); ok {
			text, err := marshaler.MarshalText()
			if err != nil {
				return fmt.Sprintf("!ERROR:%v", err)
			}
			return string(text)
		}
		return fmt.Sprintf("%+v", value.Any())
	default:
		return value.String()
	}
}

func cutLog(text string) string {
	if len(text) <= maxLogText {
		return text
	}
	return text[:maxLogText] + "..."
}

// total is how many entries there have been.
func (l *Logs) total() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.next
}
