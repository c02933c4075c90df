package sshd

import (
	"context"
	"sync"

	"golang.org/x/crypto/ssh"
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

	mu       sync.Mutex
	forwards map[string]*remoteForward
}

func newConnection(server *Server, wire *ssh.ServerConn) *connection {
	ctx, cancel := context.WithCancel(context.Background())
	return &connection{server: server, wire: wire, ctx: ctx, cancel: cancel, forwards: map[string]*remoteForward{}}
}

// serve handles channels and requests until the connection ends, then ends
// what they started and waits for it.
func (c *connection) serve(channels <-chan ssh.NewChannel, requests <-chan *ssh.Request) {
	c.work.Go(func() { c.handleRequests(requests) })
	for channel := range channels {
		c.work.Go(func() { c.handleChannel(channel) })
	}
	c.cancel()
	c.closeForwards()
	c.wire.Close()
	c.work.Wait()
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
