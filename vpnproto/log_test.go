package vpnproto

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/causewayhq/causeway/proto/vpnv1"
)

// TestLogRecord is the form of a record: level, names, fields.
func TestLogRecord(t *testing.T) {
	l := newLink(io.NopCloser(nil), nil)
	log := slog.New(newLogHandler(l, slog.LevelDebug))
	type pair struct {
		A int    `json:"a"`
		B string `json:"b"`
	}
	var nobody *pair
	log.With(slog.String("with", "it")).WithGroup("tunnel").WithGroup("net").Error("a message",
		slog.String("plain", "word"), slog.String("spaces", "two words"), slog.String("equals", "a=b"), slog.String("empty", ""),
		slog.Any("nil", nil), slog.Any("struct", pair{1, "x"}), slog.Any("pointer", &pair{2, "y"}), slog.Any("nilpointer", nobody),
		slog.Any("map", map[string]int{"k": 1}), slog.Any("bytes", []byte("a\x00b")), slog.Any("error", errors.New("went wrong")),
		slog.Int("int", 7), slog.Duration("duration", time.Second), slog.Bool("bool", true), slog.Any("addr", netip.MustParseAddr("::1")),
		slog.Group("group", slog.Int("inner", 1)), slog.Any("list", []int{1, 2}), slog.Attr{}, slog.Any("broken", broken{}),
	)
	got := (<-l.logs).GetLog()
	if got.Level != vpnv1.Log_ERROR || got.Message != "a message" || fmt.Sprint(got.LoggerNames) != "[tunnel net]" {
		t.Errorf("%v", got)
	}
	var text string
	for _, field := range got.Fields {
		text += field.Name + ": " + field.Value + "\n"
	}
	want := `with: it
plain: word
spaces: "two words"
equals: "a=b"
empty: ""
nil: <nil>
struct: {"a":1,"b":"x"}
pointer: {"a":2,"b":"y"}
nilpointer: null
map: {"k":1}
bytes: "a\x00b"
error: "went wrong"
int: 7
duration: 1s
bool: true
addr: ::1
group.inner: 1
list: "[1 2]"
broken: <nil>
`
	if text != want {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
	for level, want := range map[slog.Level]vpnv1.Log_Level{
		slog.LevelDebug: vpnv1.Log_DEBUG, slog.LevelInfo: vpnv1.Log_INFO, slog.LevelWarn: vpnv1.Log_WARN, slog.LevelError: vpnv1.Log_ERROR,
		LevelCritical: vpnv1.Log_CRITICAL, LevelFatal: vpnv1.Log_FATAL, slog.LevelDebug - 1: -1,
	} {
		log.Log(t.Context(), level, "level")
		select {
		case record := <-l.logs:
			if got := record.GetLog().GetLevel(); got != want {
				t.Errorf("level %v is %v, want %v", level, got, want)
			}
		default:
			if want != -1 {
				t.Errorf("level %v is not sent", level)
			}
		}
	}
}

// broken panics when it is asked for its text.
type broken struct{}

func (broken) Error() string { panic("no text") }

// TestLogOverflow: what finds no room is dropped and counted, what comes after
// the end dropped silently.
func TestLogOverflow(t *testing.T) {
	l := newLink(io.NopCloser(nil), nil)
	handler := newLogHandler(l, slog.LevelInfo)
	log := slog.New(handler)
	for range logsWaiting + 3 {
		log.Info("one")
	}
	<-l.logs
	<-l.logs
	log.Info("room again")
	log.Info("and again")
	var last []*vpnv1.Log
	for len(l.logs) > 0 {
		last = append(last, (<-l.logs).GetLog())
	}
	last = last[len(last)-2:]
	text, _ := json.Marshal(last[0].Fields)
	if last[0].Message != "room again" || string(text) != `[{"name":"records_dropped_before","value":"3"}]` || len(last[1].Fields) != 0 {
		t.Errorf("%v", last)
	}
	l.closing.Store(true)
	log.Info("too late")
	if len(l.logs) != 0 || handler.dropped.Load() != 0 {
		t.Error("a record after the end is kept or counted")
	}
}
