package rpty

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/causewayhq/causeway/agent/rpty/vt"
)

const (
	// maxQueue is what waits for a viewer, in bytes; past half of it the program
	// waits for it, for as long as patience goes, and then it is sent the screen
	// instead of what it missed.
	maxQueue = 512 << 10
	// A viewer that does not take writeSize bytes in stuckLimit is cut off.
	writeSize  = 16 << 10
	stuckLimit = 30 * time.Second
	// silenceLimit is for viewers that send empty messages as signs of life, as ours
	// do each 15 s and the browser's each 30 s: one that is silent for longer is lost,
	// though nobody has closed its connection.
	silenceLimit = 90 * time.Second
	// frame is the time between two paintings of the screen for a viewer that has
	// to have it painted.
	frame = 50 * time.Millisecond
)

// The marks of synchronised output, between which terminals show nothing.
const (
	beginFrame = "\x1b[?2026h"
	endFrame   = "\x1b[?2026l"
)

// viewer is one connection to a terminal. What is below wake belongs to the
// session's lock.
type viewer struct {
	conn    net.Conn
	session *session
	resume  bool
	wake    chan struct{} // there may be something to send
	drained chan struct{} // the queue was sent

	away          bool
	columns, rows int // 0: not said
	queue         []byte
	// stale: it has missed something, or has to have everything painted. It gets
	// the screen when its queue is empty, after so many lines of the history.
	stale   bool
	history int    // sinceSeen: those that it has missed
	seen    uint64 // lines that had left the screen when it became stale
	skip    bool   // what is left of a string whose beginning it has not got
}

func newViewer(conn net.Conn, wanted initial) *viewer {
	v := &viewer{conn: conn, resume: wanted.Resume, wake: make(chan struct{}, 1), drained: make(chan struct{}, 1)}
	if wanted.Width > 0 && wanted.Height > 0 {
		v.columns, v.rows = wanted.Width, wanted.Height
	}
	return v
}

const sinceSeen = -1

// direct says whether the viewer's window is as large as the terminal.
func (v *viewer) direct(screen *vt.Terminal) bool {
	columns, rows := screen.Size()
	return v.columns == 0 || v.columns == columns && v.rows == rows
}

// push queues bytes for a viewer that is up to date.
func (v *viewer) push(data []byte) {
	if !v.stale {
		v.queue = append(v.queue, data...)
	}
}

// lose makes the viewer miss what comes, until it gets the screen.
func (v *viewer) lose(screen *vt.Terminal) {
	if !v.stale {
		v.stale, v.history, v.seen = true, sinceSeen, screen.Remembered()
	}
}

func (v *viewer) notify() {
	select {
	case v.wake <- struct{}{}:
	default:
	}
}

// catchUp waits a while for the queue to be sent.
func (v *viewer) catchUp() {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-v.drained:
	case <-timer.C:
	}
}

// take is what is to be sent now, and whether it was painted.
func (v *viewer) take() (data []byte, painted, ended bool) {
	s := v.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(v.queue) == 0 && v.stale {
		painted = !v.direct(s.screen)
		history := v.history
		switch {
		case painted:
			history = 0 // a window of another size does not scroll as the terminal does
		case history == sinceSeen:
			history = int(min(s.screen.Remembered()-v.seen, vt.MaxHistory))
		}
		v.queue = append(v.queue, beginFrame...)
		v.queue = append(v.queue, s.screen.Snapshot(history)...)
		v.queue = append(v.queue, endFrame...)
		v.stale = false
		v.skip = s.screen.Streaming()
	}
	data, v.queue = v.queue, nil
	return data, painted, s.ended
}

// serve sends and receives until either side ends, and says how that was.
func (s *session) serve(v *viewer) (code int32, reason string) {
	_ = v.conn.SetDeadline(time.Time{}) // a closed connection fails below
	var reading sync.WaitGroup
	received := make(chan error, 1)
	reading.Go(func() { received <- v.receiveAll() })
	defer reading.Wait()
	defer v.conn.Close()
	lost := false
	defer func() { s.remove(v, lost) }()

	heartbeat := time.NewTicker(s.server.config.Idle / 2)
	defer heartbeat.Stop()
	for {
		select {
		case <-v.wake:
			ended, err := v.sendAll()
			switch {
			case err != nil && errors.Is(err, errStuck):
				lost = true
				return 0, err.Error()
			case err != nil:
				lost = timedOut(err)
				return 0, "the connection has ended"
			case ended:
				s.mu.Lock()
				defer s.mu.Unlock()
				return s.code, s.reason
			}
		case <-heartbeat.C:
			s.beat()
		case err := <-received:
			if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
				return 0, "detached"
			}
			lost = timedOut(err)
			return 0, "detached: " + err.Error()
		}
	}
}

func (v *viewer) receiveAll() error {
	messages := newMessages(v.conn)
	signs := false
	for {
		m, err := messages.next()
		if signs = signs || err == nil && m == (message{}); signs {
			_ = v.conn.SetReadDeadline(time.Now().Add(silenceLimit)) // a closed connection fails below
		}
		if err == nil {
			err = v.session.receive(v, m)
		}
		if err != nil {
			return err
		}
	}
}

// timedOut tells a viewer that is not heard of from one that has left.
func timedOut(err error) bool {
	timeout := net.Error(nil)
	return errors.As(err, &timeout) && timeout.Timeout()
}

var errStuck = errors.New("cut off: it has taken nothing for " + stuckLimit.String())

// sendAll sends what there is, until there is no more.
func (v *viewer) sendAll() (ended bool, err error) {
	for {
		data, painted, ended := v.take()
		if len(data) == 0 {
			return ended, nil
		}
		for len(data) > 0 {
			_ = v.conn.SetWriteDeadline(time.Now().Add(stuckLimit)) // a closed connection fails below
			count, err := v.conn.Write(data[:min(len(data), writeSize)])
			if timedOut(err) {
				return false, errStuck
			}
			if err != nil {
				return false, err
			}
			data = data[count:]
		}
		select {
		case v.drained <- struct{}{}:
		default:
		}
		if painted && !ended {
			time.Sleep(frame)
		}
	}
}
