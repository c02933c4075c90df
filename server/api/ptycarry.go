package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"github.com/causewayhq/causeway/server/store"
)

const (
	// initLimit bounds the sending of the first message.
	initLimit = 10 * time.Second
	// outputBuffer and inputBuffer are all that the server holds of a terminal
	// beside what the two connections have in flight.
	outputBuffer = 32 << 10
	inputBuffer  = 8 << 10
	// writeLimit is how long a browser may leave a message unread: a page that is
	// there takes it at once, and one that is not comes back to the same terminal.
	writeLimit = 30 * time.Second
	// flowWindow is what a page may leave unshown, when it says what it has
	// shown: browsers keep what a page has not got to, without a bound.
	flowWindow = 256 << 10
	// awayLimit bounds the last word to an agent.
	awayLimit = time.Second
	// signInterval is how long an agent that was killed, and has started anew, goes
	// unnoticed while nobody types.
	signInterval = 30 * time.Second
	// ackLimit bounds such a word: a number.
	ackLimit = 20
)

// ptySession is a terminal in a browser.
type ptySession struct {
	agents AgentDialer
	id     uuid.UUID
	init   ptyInit
	token  store.Token
	used   func()  // notes the use of a browser's session; nil for a token
	window *credit // nil: the page does not say what it has shown
	agent  net.Conn
	typing sync.Mutex  // held for each message to the agent
	left   atomic.Bool // the browser has closed the connection itself
	signs  time.Duration
}

// connect asks the agent for the terminal.
func (p *ptySession) connect(ctx context.Context) error {
	message, err := p.init.message()
	if err != nil {
		return rejectField(400, "The terminal's settings are too long.", "command", err.Error())
	}
	conn, err := p.agents.Dial(ctx, p.id, ptyPort)
	if err != nil {
		return agentFailure(err)
	}
	if err = conn.SetWriteDeadline(time.Now().Add(initLimit)); err == nil {
		_, err = conn.Write(message)
	}
	if err == nil {
		err = conn.SetWriteDeadline(time.Time{})
	}
	if err != nil {
		conn.Close()
		return agentFailure(err)
	}
	p.agent = conn
	return nil
}

// carry copies both ways until either side ends or the connection is to leave.
func (p *ptySession) carry(ctx, leave context.Context, socket *stream) error {
	defer p.agent.Close()
	ended, end := context.WithCancel(ctx)
	defer end()
	defer context.AfterFunc(leave, end)()
	parted := make(chan struct{})
	context.AfterFunc(ended, func() {
		defer close(parted)
		p.part()
	})
	var reader sync.WaitGroup
	reader.Go(func() {
		defer end()
		if err := p.input(socket); err != nil {
			socket.hangUp(err)
		}
	})
	if p.window != nil { // a page of ours, which never cuts a value in two
		reader.Go(func() { p.sign(ended) })
	}
	err := p.output(ended, socket)
	switch {
	case ended.Err() != nil:
		// The browser or we ended it, and the agent's end is a consequence.
	case errors.Is(err, io.EOF):
		socket.hangUp(context.Canceled) // a clean end: the terminal's program has ended
	default:
		socket.hangUp(fmt.Errorf("connection to the agent lost: %w", err))
	}
	end()
	<-parted
	socket.Close()
	reader.Wait()
	return nil
}

// part ends the agent's side. Of a browser that has not left, but is not heard of
// any more, the agent is told: it keeps the terminal for longer then. So it does
// when this server stops.
func (p *ptySession) part() {
	if p.window != nil && !p.left.Load() && p.typing.TryLock() {
		_ = p.agent.SetWriteDeadline(time.Now().Add(awayLimit)) // a closed connection fails below
		_, _ = io.WriteString(p.agent, `{"away":true}`)         // an agent that is gone needs no word
		p.typing.Unlock()
	}
	p.agent.Close()
}

// sign sends the agent an empty value now and then. Where its side of the
// connection is gone, it says so, and the page comes back to its session.
func (p *ptySession) sign(ctx context.Context) {
	ticker := time.NewTicker(p.signs)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if p.typing.TryLock() { // else there is a sign under way
			_, _ = io.WriteString(p.agent, "{}") // the reader of the output hears why
			p.typing.Unlock()
		}
	}
}

// output sends what the terminal shows.
func (p *ptySession) output(ctx context.Context, socket *stream) error {
	buffer := make([]byte, outputBuffer)
	for {
		n, err := p.agent.Read(buffer)
		if n > 0 {
			if waited := p.window.take(ctx, n); waited != nil {
				return waited
			}
			limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeLimit)
			problem := socket.conn.Write(limited, websocket.MessageBinary, buffer[:n])
			cancel()
			if problem != nil {
				return fmt.Errorf("send to browser: %w", problem)
			}
		}
		if err != nil {
			return err
		}
	}
}

var errPTYText = errors.New("text message on a terminal: want binary ones")

// input hands on what is typed, message by message and never a whole one, and
// takes note of what was shown. nil is the browser's orderly end.
func (p *ptySession) input(socket *stream) error {
	buffer := make([]byte, inputBuffer)
	for {
		kind, message, err := socket.conn.Reader(context.Background())
		if err != nil {
			p.left.Store(websocket.CloseStatus(err) != -1)
			socket.end()
			return nil
		}
		if kind == websocket.MessageText {
			if err := p.shown(message); err != nil {
				return err
			}
			continue
		}
		p.typing.Lock()
		_, err = io.CopyBuffer(onlyWriter{p.agent}, message, buffer)
		p.typing.Unlock()
		if err != nil {
			return nil // the reader of the output hears why
		}
		if p.used != nil {
			p.used()
		}
	}
}

// onlyWriter hides a ReadFrom that would bring a buffer of its own.
type onlyWriter struct{ io.Writer }

// shown reads how many bytes more the page has shown.
func (p *ptySession) shown(message io.Reader) error {
	if p.window == nil {
		return errPTYText
	}
	text, err := io.ReadAll(io.LimitReader(message, ackLimit+1))
	if err != nil {
		return nil // the next read ends
	}
	count, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 32)
	if err != nil {
		return errPTYText
	}
	p.window.give(int(count))
	return nil
}

// credit bounds what is under way. A nil one does not.
type credit struct {
	size int

	mu    sync.Mutex
	taken int
	freed chan struct{} // holds one token when something was given back
}

func newCredit(size int) *credit { return &credit{size: size, freed: make(chan struct{}, 1)} }

// take waits until less than the window is under way, and adds to it.
func (c *credit) take(ctx context.Context, n int) error {
	if c == nil {
		return nil
	}
	for {
		c.mu.Lock()
		if c.taken < c.size {
			c.taken += n
			c.mu.Unlock()
			return nil
		}
		c.mu.Unlock()
		select {
		case <-c.freed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// give takes back what was shown; a page cannot show more than it was sent.
func (c *credit) give(n int) {
	c.mu.Lock()
	c.taken = max(0, c.taken-n)
	c.mu.Unlock()
	select {
	case c.freed <- struct{}{}:
	default:
	}
}
