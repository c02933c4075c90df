package logs

import (
	"bytes"
	"io"
	"sync"

	"github.com/causewayhq/causeway/proto/agentv2"
)

// lines cuts a stream into lines.
type lines struct {
	source *Source
	level  agentv2.Log_Level

	mu      sync.Mutex
	partial []byte // of a line; what is beyond Limit is not kept
}

// Writer cuts what is written to it into lines of a level. Close ends the last
// line, if it has no end of its own. It never fails, and never waits for the
// control plane.
func (s *Source) Writer(level agentv2.Log_Level) io.WriteCloser {
	return &lines{source: s, level: level}
}

func (l *lines) Write(data []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for rest := data; len(rest) > 0; {
		line, after, ends := bytes.Cut(rest, []byte{'\n'})
		l.partial = append(l.partial, line[:min(len(line), Limit-len(l.partial))]...)
		if ends {
			l.flush()
		}
		rest = after
	}
	return len(data), nil
}

func (l *lines) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.partial) > 0 {
		l.flush()
	}
	return nil
}

// flush ends a line. One that was cut is too long, which Add finds out.
func (l *lines) flush() {
	l.source.Add(l.level, string(bytes.TrimSuffix(l.partial, []byte{'\r'})))
	if l.partial = l.partial[:0]; cap(l.partial) > 64<<10 {
		l.partial = nil // one long line is no reason to keep so much
	}
}
