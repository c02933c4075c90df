package rpty

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/agent/rpty/vt"
)

const (
	// readSize is how much of the program's output is taken at once.
	readSize = 8 << 10
	// patience is how long a program waits for a viewer that has fallen behind,
	// once: then the viewer misses bytes until it has caught up.
	patience = 100 * time.Millisecond
	// maxTyped is how many messages wait for the program to read them.
	maxTyped = 16
)

var errEnded = errors.New("the terminal has ended")

// session is one terminal with its program.
type session struct {
	server  *Server
	log     *slog.Logger
	id      uuid.UUID
	command string
	started time.Time
	ready   chan struct{} // closed when program and failed are valid
	failed  error
	program Program
	typed   chan []byte   // to the program
	over    chan struct{} // closed when the program has ended and all is torn down

	mu        sync.Mutex
	screen    *vt.Terminal
	viewers   []*viewer // in the order they came
	writer    *viewer   // who typed last, and replies to questions
	timer     *time.Timer
	idleSince time.Time
	lostAt    time.Time // when a viewer went without a word that has not come back
	reason    string    // why it is being ended, or has ended
	ended     bool
	code      int32
}

func newSession(server *Server, wanted initial, columns, rows int) *session {
	return &session{
		server: server, log: server.log.With(slog.String("terminal", wanted.ID.String())), id: wanted.ID, command: wanted.Command,
		started: time.Now(), ready: make(chan struct{}), typed: make(chan []byte, maxTyped), over: make(chan struct{}),
		screen: vt.New(columns, rows),
	}
}

// start runs the program, and closes ready.
func (s *session) start() {
	defer close(s.ready)
	columns, rows := s.screen.Size()
	s.program, s.failed = s.server.config.Start(s.command, columns, rows)
	if s.failed != nil {
		s.server.forget(s)
		close(s.over)
		s.server.work.Done()
		return
	}
	s.mu.Lock()
	s.idleSince = time.Now()
	s.timer = time.AfterFunc(s.server.config.Idle, s.expire)
	s.mu.Unlock()
	s.log.Debug("terminal started")
	go s.run()
}

// run serves the program until it has ended.
func (s *session) run() {
	defer s.server.work.Done()
	var typing sync.WaitGroup
	typing.Go(s.typeAll)
	buffer := make([]byte, readSize)
	for {
		count, err := s.program.Read(buffer)
		if count > 0 {
			s.show(buffer[:count])
		}
		if err != nil {
			break
		}
	}
	// A program that has closed its terminal, and lives, cannot be reached.
	select {
	case <-s.program.Done():
	default:
		s.program.End(endGrace)
		<-s.program.Done()
	}
	code, signal := s.program.Exit()
	s.program.Close()
	s.mu.Lock()
	s.ended = true
	s.code = int32(code)
	if s.reason == "" {
		s.reason = fmt.Sprintf("the program has ended with code %d", code)
		if signal != "" {
			s.reason = "the program was ended by signal " + signal
		}
	}
	s.timer.Stop()
	for _, each := range s.viewers {
		each.push(s.screen.Held())
		each.notify()
	}
	reason := s.reason
	s.mu.Unlock()
	close(s.over)
	typing.Wait()
	s.server.forget(s)
	s.log.Debug("terminal ended", slog.String("reason", reason))
}

// typeAll gives the program what was typed. A program that reads nothing holds
// it up, until the terminal is closed.
func (s *session) typeAll() {
	for {
		select {
		case data := <-s.typed:
			if _, err := s.program.Write(data); err != nil {
				return
			}
		case <-s.over:
			return
		}
	}
}

// show brings output to the screen and to the viewers.
func (s *session) show(data []byte) {
	s.mu.Lock()
	var late []*viewer
	segments := s.screen.Feed(data)
	for _, segment := range segments {
		s.route(segment)
	}
	for _, each := range s.viewers {
		each.notify()
		if len(each.queue) > maxQueue/2 && !each.stale {
			late = append(late, each)
			select {
			case <-each.drained: // of what was sent before
			default:
			}
		}
	}
	s.mu.Unlock()
	for _, each := range late {
		each.catchUp()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, each := range late {
		if len(each.queue) > maxQueue/2 {
			each.lose(s.screen)
		}
	}
}

// route gives a segment to those who should get it.
func (s *session) route(segment vt.Segment) {
	if segment.Query {
		if s.writer != nil && s.writer.direct(s.screen) {
			s.writer.push(segment.Data)
			return
		}
		if segment.Answer != "" {
			select {
			case s.typed <- []byte(segment.Answer):
			default: // a program that asks and does not read
			}
		}
		return
	}
	for _, each := range s.viewers {
		switch {
		case !each.direct(s.screen):
			each.lose(s.screen)
		case segment.Rest && each.skip:
		default:
			each.skip = false
			each.push(segment.Data)
		}
	}
}

// add attaches a viewer, which gets the screen first.
func (s *session) add(v *viewer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended || s.reason != "":
		return errEnded
	case len(s.viewers) >= maxViewers:
		return fmt.Errorf("%d viewers watch the terminal, and no more are allowed", maxViewers)
	}
	v.session = s
	s.viewers = append(s.viewers, v)
	s.idleSince, s.lostAt = time.Time{}, time.Time{}
	s.timer.Reset(s.server.config.Idle)
	if s.writer == nil {
		s.writer = v
	}
	v.stale, v.history = true, vt.MaxHistory
	if v.resume {
		v.history = 0
	}
	s.fit(v)
	v.notify()
	return nil
}

// remove detaches a viewer that has left, or is lost. Without one, the terminal's
// time runs.
func (s *session) remove(v *viewer, lost bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if lost || v.away {
		s.lostAt = time.Now()
	}
	s.viewers = slices.DeleteFunc(s.viewers, func(each *viewer) bool { return each == v })
	if s.writer == v {
		s.writer = nil
		if len(s.viewers) > 0 {
			s.writer = s.viewers[0]
		}
	}
	if len(s.viewers) == 0 && !s.ended {
		s.idleSince = time.Now()
		s.timer.Reset(time.Until(s.ends()))
	}
	s.fit(nil)
}

// ends is when the terminal ends unless somebody comes. The caller holds mu.
func (s *session) ends() time.Time {
	at := s.idleSince.Add(s.server.config.Idle)
	if waits := s.lostAt.Add(lostLimit); !s.lostAt.IsZero() && waits.After(at) {
		return waits
	}
	return at
}

// waitsForLost says whether the terminal is kept for viewers that are lost only,
// and since when nobody has watched it.
func (s *session) waitsForLost() (since time.Time, waits bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.idleSince, s.abandoned()
}

// abandoned: nobody watches, for as long as others are given. The caller holds mu.
func (s *session) abandoned() bool {
	idle := len(s.viewers) == 0 && !s.ended && s.reason == "" && !s.idleSince.IsZero()
	return idle && time.Since(s.idleSince) >= s.server.config.Idle
}

// claim lets nobody attach any more, unless somebody has.
func (s *session) claim(reason string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.abandoned() {
		return false
	}
	s.reason = reason
	return true
}

// beat is the heartbeat of a viewer: it puts the end off.
func (s *session) beat() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.timer.Reset(s.server.config.Idle)
	}
}

// expire ends a terminal that nobody has watched for long enough.
func (s *session) expire() {
	s.mu.Lock()
	// Somebody may have come, or gone, since the timer has fired.
	over := len(s.viewers) == 0 && !s.ended && !time.Now().Before(s.ends())
	if over && s.reason == "" {
		s.reason = "nobody has watched for " + time.Since(s.idleSince).Round(time.Second).String() // nobody attaches any more
	}
	s.mu.Unlock()
	if over {
		s.program.End(endGrace)
	}
}

// end ends the program with its processes; the rest follows from that.
func (s *session) end(reason string, grace time.Duration) {
	s.mu.Lock()
	if s.reason == "" {
		s.reason = reason
	}
	s.mu.Unlock()
	s.program.End(grace)
}

// fit gives the terminal the smallest size of its viewers. Who asked for it,
// and has it now, has made room for it already; all others get the screen anew.
func (s *session) fit(asked *viewer) {
	columns, rows := 0, 0
	for _, each := range s.viewers {
		if each.columns > 0 && (columns == 0 || each.columns < columns) {
			columns = each.columns
		}
		if each.rows > 0 && (rows == 0 || each.rows < rows) {
			rows = each.rows
		}
	}
	if columns == 0 || rows == 0 || s.ended {
		return
	}
	columns, rows = vt.Clamp(columns, rows)
	oldColumns, oldRows := s.screen.Size()
	if columns == oldColumns && rows == oldRows {
		return
	}
	s.screen.Resize(columns, rows)
	if err := s.program.Resize(columns, rows); err != nil {
		s.log.Debug("terminal not resized", slog.String("error", err.Error()))
	}
	for _, each := range s.viewers {
		if each != asked || !each.direct(s.screen) {
			each.lose(s.screen)
		}
		each.notify()
	}
}

// receive does what a viewer has sent.
func (s *session) receive(v *viewer, m message) error {
	if m.Away {
		s.mu.Lock()
		v.away = true
		s.mu.Unlock()
	}
	if m.Height > 0 && m.Width > 0 {
		s.mu.Lock()
		before := v.direct(s.screen)
		v.columns, v.rows = m.Width, m.Height
		s.fit(v)
		if !before || !v.direct(s.screen) {
			v.lose(s.screen)
			v.notify()
		}
		s.mu.Unlock()
	}
	if m.Data == "" {
		return nil
	}
	s.mu.Lock()
	s.writer = v
	s.mu.Unlock()
	timer := time.NewTimer(stuckLimit)
	defer timer.Stop()
	select {
	case s.typed <- []byte(m.Data):
		return nil
	case <-s.over:
		return errEnded
	case <-timer.C:
		return fmt.Errorf("the program has read nothing for %v", stuckLimit)
	}
}

// info describes the terminal, if it can be attached to.
func (s *session) info() (info Info, there bool) {
	if s.failed != nil {
		return Info{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	columns, rows := s.screen.Size()
	return Info{
		ID: s.id, Command: s.command, Started: s.started, Viewers: len(s.viewers), IdleSince: s.idleSince,
		Columns: columns, Rows: rows, Title: s.screen.Title(),
	}, !s.ended && s.reason == ""
}
