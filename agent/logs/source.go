package logs

import (
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/causewayhq/causeway/proto/agentv2"
)

// tick is the least step of time from one line of a source to the next:
// databases keep microseconds.
const tick = time.Microsecond

// maxAfter bounds warnings for which there was no room. They are the agent's own
// words on a script, which must not drown in what it prints.
const maxAfter = 16

// Source takes the lines of one log source. Its methods are safe for
// concurrent use.
type Source struct {
	id     uuid.UUID
	sender *Sender

	// The rest is locked by the sender.
	lines   []*agentv2.Log
	size    int       // of lines, with overhead
	frozen  int       // so many of them are a batch that may have been taken
	gap     int       // lines that were dropped after the last of lines
	after   []string  // warnings that came meanwhile, at most maxAfter
	last    time.Time // of a line
	flushed time.Time
	wait    time.Duration // after the last refusal
	retry   time.Time     // not before
}

// Add queues one line, without its end. What is no text, or no text that
// databases store, becomes the replacement character.
func (s *Source) Add(level agentv2.Log_Level, text string) {
	text = clean(text)
	s.sender.mu.Lock()
	defer s.sender.mu.Unlock()
	switch {
	case s.sender.exceeded, s.sender.deaf:
	case len(text)+Overhead > Limit:
		s.sender.tellOversize(s)
		s.add(agentv2.Log_WARN, fmt.Sprintf("causeway-agent: a line of more than %d bytes was left out", Limit-Overhead))
	default:
		s.add(level, text)
	}
}

func clean(text string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
}

// add queues the line if there is room for it. After the first that is dropped
// all are, until the queue is shorter, so that a gap is one gap.
func (s *Source) add(level agentv2.Log_Level, text string) {
	sender, size := s.sender, len(text)+Overhead
	if s.gap > 0 || len(s.after) > 0 || sender.queued+size > Limit {
		if level == agentv2.Log_WARN && len(s.after) < maxAfter {
			s.after = append(s.after, text)
			return
		}
		s.gap++
		sender.tellFull()
		return
	}
	now := time.Now().Truncate(tick)
	if now.Sub(s.last) < tick {
		now = s.last.Add(tick) // also when the clock was set back
	}
	s.last = now
	sender.unsettle()
	s.lines = append(s.lines, &agentv2.Log{CreatedAt: timestamppb.New(now), Output: text, Level: level})
	s.size += size
	sender.queued += size
	if s.size >= early || sender.draining {
		sender.poke()
	}
}

// tellGap puts a line in the place of those that were dropped, and warnings
// after it, when there is room for them.
func (s *Source) tellGap() {
	words := s.after
	if s.gap > 0 {
		gap := fmt.Sprintf("causeway-agent: %d lines were left out here: the control plane did not take them in time", s.gap)
		words = append([]string{gap}, words...)
	}
	size := 0
	for _, each := range words {
		size += len(each) + Overhead
	}
	if s.sender.queued+size > Limit {
		return
	}
	s.gap, s.after = 0, nil
	for _, each := range words {
		s.add(agentv2.Log_WARN, each)
	}
}

// due says whether the source has something to send now.
func (s *Source) due(now time.Time) bool {
	if len(s.lines) == 0 || now.Before(s.retry) {
		return false
	}
	return s.sender.draining || s.size >= early || now.Sub(s.flushed) >= flushInterval
}

// batch is what to send: the same as before, if nobody knows whether that was
// taken.
func (s *Source) batch() []*agentv2.Log {
	if s.frozen == 0 {
		size := 0
		for _, line := range s.lines {
			if size += len(line.GetOutput()) + Overhead; size > Limit {
				break
			}
			s.frozen++
		}
	}
	return s.lines[:s.frozen:s.frozen]
}

// forget drops the first lines, which were taken.
func (s *Source) forget(count int) {
	for _, line := range s.lines[:count] {
		size := len(line.GetOutput()) + Overhead
		s.size -= size
		s.sender.queued -= size
	}
	s.lines = append([]*agentv2.Log(nil), s.lines[count:]...)
	s.frozen, s.wait, s.retry = 0, 0, time.Time{}
}

func (s *Sender) tellOversize(source *Source) {
	if !s.oversize {
		s.oversize = true
		s.log.Warn("a line of a script is too long for the control plane and left out; more will not be reported here", slog.String("source", source.id.String()), slog.Int("limit", Limit-Overhead))
	}
}

func (s *Sender) tellFull() {
	if !s.full {
		s.full = true
		s.log.Warn("scripts print faster than the control plane takes their lines; some are left out, which the log itself says", slog.Int("limit", Limit))
	}
}
