package script

import (
	"bytes"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/agent/login"
	"github.com/causewayhq/causeway/proto/agentv2"
)

// recorder keeps what scripts print and how they end.
type recorder struct {
	mu      sync.Mutex
	printed map[agentv2.Log_Level]*bytes.Buffer
	bytes   int // in all; what is beyond keep is only counted
	timings []*agentv2.Timing
}

const keep = 1 << 20

type stream struct {
	recorder *recorder
	level    agentv2.Log_Level
}

func (s stream) Write(data []byte) (int, error) {
	s.recorder.mu.Lock()
	defer s.recorder.mu.Unlock()
	if s.recorder.printed[s.level] == nil {
		s.recorder.printed[s.level] = &bytes.Buffer{}
	}
	if s.recorder.bytes < keep {
		s.recorder.printed[s.level].Write(data)
	}
	s.recorder.bytes += len(data)
	return len(data), nil
}

func (stream) Close() error { return nil }

func (r *recorder) text(level agentv2.Log_Level) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.printed[level] == nil {
		return ""
	}
	return r.printed[level].String()
}

func (r *recorder) runs() []*agentv2.Timing {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]*agentv2.Timing(nil), r.timings...)
}

// newRunner makes one whose scripts run in a shell that every system has.
func newRunner(t *testing.T) (*Runner, *recorder, string) {
	t.Helper()
	directory := t.TempDir()
	record := &recorder{printed: map[agentv2.Log_Level]*bytes.Buffer{}}
	r := New(Config{
		Logger: slog.New(slog.DiscardHandler), Login: login.Login{Directory: func() string { return directory }},
		Output:       func(_ uuid.UUID, level agentv2.Log_Level) io.WriteCloser { return stream{record, level} },
		BinDirectory: filepath.Join(directory, "bin"), DataDirectory: filepath.Join(directory, "data"), LogDirectory: filepath.Join(directory, "logs"),
		Completed: func(timing *agentv2.Timing) {
			record.mu.Lock()
			defer record.mu.Unlock()
			record.timings = append(record.timings, timing)
		},
	})
	t.Cleanup(r.Close)
	return r, record, directory
}

func onStart(line string) Script {
	return Script{ID: uuid.New(), Source: uuid.New(), Name: "test", Line: line, OnStart: true}
}

// patience is long because the machine may be busy.
const patience = 20 * time.Second

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatalf("waited %s for %s", patience, what)
}

func countLines(text, line string) (count int) {
	for each := range strings.Lines(text) {
		if each == line+"\n" {
			count++
		}
	}
	return count
}
