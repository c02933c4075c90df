package rpty

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/causewayhq/causeway/agent/rpty/vt"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// program is one of which the test says what it writes and when it ends.
type program struct {
	command string
	output  *io.PipeWriter
	screen  *io.PipeReader
	done    chan struct{}
	finish  func(code int)

	mu    sync.Mutex
	code  int
	typed bytes.Buffer
	sizes []string
	ended []time.Duration // with which grace
	stuck chan struct{}   // not nil: reads nothing until closed
	deaf  bool            // to being ended
}

func (p *program) Read(data []byte) (int, error) { return p.screen.Read(data) }

func (p *program) Write(data []byte) (int, error) {
	p.mu.Lock()
	stuck := p.stuck
	p.mu.Unlock()
	if stuck != nil {
		select {
		case <-stuck:
		case <-p.done:
			return 0, io.ErrClosedPipe
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.typed.Write(data)
}

func (p *program) Close() error { return p.screen.Close() }

func (p *program) Resize(columns, rows int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sizes = append(p.sizes, fmt.Sprintf("%dx%d", columns, rows))
	return nil
}

func (p *program) Done() <-chan struct{} { return p.done }

func (p *program) Exit() (int, string) { return p.code, "" }

func (p *program) End(grace time.Duration) {
	p.mu.Lock()
	p.ended = append(p.ended, grace)
	deaf := p.deaf
	p.mu.Unlock()
	if !deaf {
		p.finish(-1)
	}
}

func (p *program) got() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.typed.String()
}

func (p *program) endings() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.ended)
}

// say writes, and returns when the session has read it.
func (p *program) say(text string) { _, _ = io.WriteString(p.output, text) }

// stage is a server whose programs are the test's.
type stage struct {
	*Server
	t *testing.T

	mu       sync.Mutex
	programs []*program
	refuse   error
}

func newStage(t *testing.T, config Config) *stage {
	s := &stage{t: t}
	config.Logger = slog.New(slog.DiscardHandler)
	config.Start = func(command string, columns, rows int) (Program, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.refuse != nil {
			return nil, s.refuse
		}
		read, write := io.Pipe()
		p := &program{command: command, output: write, screen: read, done: make(chan struct{}), sizes: []string{fmt.Sprintf("%dx%d", columns, rows)}}
		var once sync.Once
		p.finish = func(code int) {
			once.Do(func() {
				p.code = code
				close(p.done)
				write.Close()
			})
		}
		s.programs = append(s.programs, p)
		return p, nil
	}
	s.Server = New(config)
	return s
}

// close ends the server, and with it what the test has left open.
func (s *stage) close() {
	s.t.Helper()
	if err := s.Shutdown(s.t.Context()); err != nil {
		s.t.Error(err)
	}
}

func (s *stage) program(index int) *program {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if index >= len(s.programs) {
		s.t.Fatalf("%d programs were started", len(s.programs))
	}
	return s.programs[index]
}

// client is the far end of a connection.
type client struct {
	net.Conn
	t     *testing.T
	mu    sync.Mutex
	raw   bytes.Buffer
	ended bool
}

// connect makes a connection that is being served.
func (s *stage) connect() net.Conn {
	near, far := net.Pipe()
	s.Server.mu.Lock()
	s.conns[far] = true
	s.work.Go(func() {
		s.handle(far)
		far.Close()
		s.Server.mu.Lock()
		delete(s.conns, far)
		s.Server.mu.Unlock()
	})
	s.Server.mu.Unlock()
	return near
}

func encode(wanted any) []byte {
	data, _ := json.Marshal(wanted)
	return append(binary.LittleEndian.AppendUint16(nil, uint16(len(data))), data...)
}

// attach connects, asks, and reads until the connection ends.
func (s *stage) attach(wanted initial) *client {
	c := &client{Conn: s.connect(), t: s.t}
	go func() {
		buffer := make([]byte, 4096)
		for {
			count, err := c.Read(buffer)
			c.mu.Lock()
			c.raw.Write(buffer[:count])
			c.ended = err != nil
			c.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	_, _ = c.Write(encode(wanted))
	return c
}

func (c *client) send(m message) {
	data, _ := json.Marshal(m)
	_, _ = c.Write(data)
}

func (c *client) got() (text string, ended bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.raw.String(), c.ended
}

// screen is what the client's terminal of this size shows and is.
func (c *client) screen(columns, rows int) *vt.Terminal {
	text, _ := c.got()
	result := vt.New(columns, rows)
	result.Feed([]byte(text))
	return result
}

func id(n byte) uuid.UUID { return uuid.UUID{15: n} }

func inBubble(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, test)
}
