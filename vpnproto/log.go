package vpnproto

import (
	"context"
	"encoding"
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"unicode"

	"github.com/causewayhq/causeway/proto/vpnv1"
)

// The levels above slog's own.
const (
	LevelCritical = slog.LevelError + 4
	LevelFatal    = slog.LevelError + 8
)

// logHandler sends records to the manager. It never waits: what finds no room is
// dropped and counted, what comes after the end dropped silently. Groups of the
// logger are its names.
type logHandler struct {
	link    *link
	level   slog.Leveler
	names   []string
	fields  []*vpnv1.Log_Field
	dropped *atomic.Uint64 // since the last record that found room
}

func newLogHandler(l *link, level slog.Leveler) *logHandler {
	return &logHandler{link: l, level: level, dropped: &atomic.Uint64{}}
}

// Enabled says whether records of a level are sent.
func (h *logHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.level.Level()
}

// WithGroup adds a name.
func (h *logHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	next := *h
	next.names = append(slices.Clip(h.names), name)
	return &next
}

// WithAttrs adds fields.
func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	next := *h
	next.fields = slices.Clip(h.fields)
	for _, attr := range attrs {
		next.fields = appendField(next.fields, "", attr)
	}
	return &next
}

// Handle sends a record.
func (h *logHandler) Handle(_ context.Context, record slog.Record) error {
	fields := slices.Clip(h.fields)
	record.Attrs(func(attr slog.Attr) bool {
		fields = appendField(fields, "", attr)
		return true
	})
	missed := h.dropped.Swap(0)
	if missed > 0 {
		fields = append(fields, &vpnv1.Log_Field{Name: "records_dropped_before", Value: strconv.FormatUint(missed, 10)})
	}
	if !h.link.record(&vpnv1.Log{Level: logLevel(record.Level), Message: record.Message, LoggerNames: h.names, Fields: fields}) {
		h.dropped.Add(missed + 1)
	}
	return nil
}

func logLevel(level slog.Level) vpnv1.Log_Level {
	switch {
	case level >= LevelFatal:
		return vpnv1.Log_FATAL
	case level >= LevelCritical:
		return vpnv1.Log_CRITICAL
	case level >= slog.LevelError:
		return vpnv1.Log_ERROR
	case level >= slog.LevelWarn:
		return vpnv1.Log_WARN
	case level >= slog.LevelInfo:
		return vpnv1.Log_INFO
	}
	return vpnv1.Log_DEBUG
}

// appendField adds an attribute; those of a group have its name in front.
func appendField(fields []*vpnv1.Log_Field, prefix string, attr slog.Attr) []*vpnv1.Log_Field {
	value := attr.Value.Resolve()
	if value.Kind() == slog.KindGroup {
		if attr.Key != "" {
			prefix += attr.Key + "."
		}
		for _, inner := range value.Group() {
			fields = appendField(fields, prefix, inner)
		}
		return fields
	}
	if attr.Equal(slog.Attr{}) {
		return fields // as slog demands
	}
	return append(fields, &vpnv1.Log_Field{Name: prefix + attr.Key, Value: fieldText(value)})
}

// fieldText is a value as text: nil is <nil>, structs and maps are JSON, bytes are
// quoted, strings only if they need it.
func fieldText(value slog.Value) string {
	if value.Kind() != slog.KindAny {
		return quoted(value.String())
	}
	switch value := value.Any().(type) {
	case nil:
		return "<nil>"
	case []byte:
		return strconv.Quote(string(value))
	case error:
		return quoted(safely(value.Error))
	case fmt.Stringer:
		return quoted(safely(value.String))
	case encoding.TextMarshaler:
		return quoted(safely(func() string {
			text, err := value.MarshalText()
			if err != nil {
				return err.Error()
			}
			return string(text)
		}))
	default:
		return anyText(value)
	}
}

func anyText(value any) string {
	kind := reflect.TypeOf(value)
	for kind.Kind() == reflect.Pointer {
		kind = kind.Elem()
	}
	if kind.Kind() == reflect.Struct || kind.Kind() == reflect.Map {
		text, err := json.Marshal(value)
		if err != nil {
			return quoted(err.Error())
		}
		return string(text)
	}
	return quoted(fmt.Sprint(value))
}

// safely keeps a method of a nil pointer from ending the process: a log record
// is worth no crash.
func safely(text func() string) (result string) {
	defer func() {
		if recover() != nil {
			result = "<nil>"
		}
	}()
	return text()
}

func quoted(text string) string {
	special := func(c rune) bool {
		return unicode.IsSpace(c) || !unicode.IsPrint(c) || c == '"' || c == '=' || c == unicode.ReplacementChar
	}
	if text == "" || strings.ContainsFunc(text, special) {
		return strconv.Quote(text)
	}
	return text
}
