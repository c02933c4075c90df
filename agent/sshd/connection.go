package sshd

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/causewayhq/causeway/proto/agentv2"
)

// connection is one SSH connection with its channels and its remote forwards.
// serve owns every goroutine of it.
type connection struct {
	server *Server
	wire   *ssh.ServerConn
	// ctx ends with the connection.
	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup
	// channels holds one token for each open channel.
	channels chan struct{}
	// began and stirred, the time since then at which data last passed, are for
	// the idle limit.
	began   time.Time
	stirred atomic.Int64

	mu       sync.Mutex
	forwards map[string]*remoteForward
	sessions map[*session]struct{}
	// kinds are those that were counted, with what ends the count, nil for
	// those that sessions count.
	kinds map[agentv2.Connection_Type]closeFunc
	// reason says why the server has ended the connection.
	reason string
}

func newConnection(server *Server, wire *ssh.ServerConn) *connection {
	ctx, cancel := context.WithCancel(context.Background())
	return &connection{
		server: server, wire: wire, ctx: ctx, cancel: cancel,
		channels: make(chan struct{}, maxChannels), began: time.Now(), forwards: map[string]*remoteForward{},
		sessions: map[*session]struct{}{}, kinds: map[agentv2.Connection_Type]closeFunc{},
	}
}

// serve handles channels and requests until the connection ends, then ends
// what they started and waits for it.
func (c *connection) serve(channels <-chan ssh.NewChannel, requests <-chan *ssh.Request) {
	c.work.Go(func() { c.handleRequests(requests) })
	c.watch()
	for channel := range channels {
		if !c.takeChannel() {
			_ = channel.Reject(ssh.ResourceShortage, "too many channels")
			continue
		}
		c.work.Go(func() {
			defer c.freeChannel()
			c.handleChannel(channel)
		})
	}
	c.cancel()
	c.closeForwards()
	c.wire.Close()
	c.work.Wait()
	c.closeKinds()
}

func (c *connection) handleChannel(channel ssh.NewChannel) {
	switch channel.ChannelType() {
	case "session":
		handleSession(c, channel)
	case "direct-tcpip":
		c.directTCP(channel)
	case "direct-streamlocal@openssh.com":
		c.directUnix(channel)
	default:
		// Failing to refuse means that the connection has ended, as everywhere below.
		_ = channel.Reject(ssh.UnknownChannelType, "unsupported channel type")
	}
}

func (c *connection) handleRequests(requests <-chan *ssh.Request) {
	for request := range requests {
		var answer []byte
		accepted := false
		switch request.Type {
		case "tcpip-forward":
			answer, accepted = c.forwardTCP(request.Payload)
		case "cancel-tcpip-forward":
			accepted = c.cancelTCP(request.Payload)
		case "streamlocal-forward@openssh.com":
			accepted = c.forwardUnix(request.Payload)
		case "cancel-streamlocal-forward@openssh.com":
			accepted = c.cancelUnix(request.Payload)
		}
		// keepalive@openssh.com lands here with the rest: a refusal is the
		// answer that its sender waits for.
		if request.WantReply {
			_ = request.Reply(accepted, answer)
		}
	}
}

// takeChannel says whether one more channel may be opened.
func (c *connection) takeChannel() bool {
	select {
	case c.channels <- struct{}{}:
		return true
	default:
		return false
	}
}

func (c *connection) freeChannel() { <-c.channels }

// stir notes that data has passed.
func (c *connection) stir() { c.stirred.Store(int64(time.Since(c.began))) }

// stirring is a channel whose data keeps its connection from being idle.
type stirring struct {
	ssh.Channel
	conn *connection
}

func (s stirring) Read(buffer []byte) (int, error) {
	count, err := s.Channel.Read(buffer)
	s.conn.stir()
	return count, err
}

func (s stirring) Write(data []byte) (int, error) {
	s.conn.stir()
	count, err := s.Channel.Write(data)
	s.conn.stir()
	return count, err
}

// endReason is why connections end with the agent; terminals say the same.
const endReason = "the agent is ending"

// end ends the connection, and says why to its sessions and in the log.
func (c *connection) end(reason string) {
	if !c.ending(reason) {
		return
	}
	c.server.config.Logger.Info("ssh connection is ended",
		slog.String("remote", c.wire.RemoteAddr().String()), slog.String("reason", reason))
	c.farewell(reason)
}

// ending notes why the connection ends; false says that it does already.
func (c *connection) ending(reason string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reason != "" {
		return false
	}
	c.reason = reason
	return true
}

// farewell tells the sessions why, for as long as they listen, and ends the
// connection. The caller counts in the server's work.
func (c *connection) farewell(reason string) {
	c.mu.Lock()
	sessions := slices.Collect(maps.Keys(c.sessions))
	c.mu.Unlock()

	var told sync.WaitGroup
	for _, s := range sessions {
		told.Go(func() { s.farewell(reason) })
	}
	done := make(chan struct{})
	c.server.work.Go(func() { // ends with the connection at the latest
		told.Wait()
		close(done)
	})
	timer := time.NewTimer(farewellLimit)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
	c.wire.Close()
}

// ended is why the connection is over.
func (c *connection) ended() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reason != "" {
		return c.reason
	}
	return "the client has gone"
}
