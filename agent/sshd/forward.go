package sshd

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
)

// dialLimit bounds the wait for the target of a forward.
const dialLimit = 10 * time.Second

type directTCPMessage struct {
	Host       string
	Port       uint32
	OriginHost string
	OriginPort uint32
}

type directUnixMessage struct {
	Path      string
	Reserved  string
	Reserved2 uint32
}

type forwardTCPMessage struct {
	Host string
	Port uint32
}

type forwardUnixMessage struct{ Path string }

type forwardedUnixMessage struct{ Path, Reserved string }

// remoteForward is a listener of ours whose connections go to the client.
type remoteForward struct{ listeners []net.Listener }

func (f *remoteForward) close() {
	for _, listener := range f.listeners {
		listener.Close()
	}
}

func (c *connection) directTCP(channel ssh.NewChannel) {
	var target directTCPMessage
	if err := ssh.Unmarshal(channel.ExtraData(), &target); err != nil || target.Port == 0 || target.Port > 65535 {
		_ = channel.Reject(ssh.ConnectionFailed, "malformed forward")
		return
	}
	if !c.localForward(channel) {
		return
	}
	c.direct(channel, "tcp", net.JoinHostPort(target.Host, strconv.FormatUint(uint64(target.Port), 10)))
}

func (c *connection) directUnix(channel ssh.NewChannel) {
	var target directUnixMessage
	if err := ssh.Unmarshal(channel.ExtraData(), &target); err != nil || target.Path == "" {
		_ = channel.Reject(ssh.ConnectionFailed, "malformed forward")
		return
	}
	if !c.localForward(channel) {
		return
	}
	c.direct(channel, "unix", target.Path)
}

// localForward refuses the channel where such forwards are switched off.
func (c *connection) localForward(channel ssh.NewChannel) bool {
	if c.server.config.BlockLocalForward {
		_ = channel.Reject(ssh.Prohibited, "local port forwarding has been disabled")
		return false
	}
	return true
}

func (c *connection) direct(channel ssh.NewChannel, network, address string) {
	dialer := net.Dialer{Timeout: dialLimit}
	conn, err := dialer.DialContext(c.ctx, network, address)
	if err != nil {
		_ = channel.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	stream, requests, err := channel.Accept()
	if err != nil {
		conn.Close()
		return
	}
	c.work.Go(func() { c.inspect(conn.RemoteAddr()) })
	c.join(conn, stream, requests)
}

// halfCloser is a stream whose writing side can end alone.
type halfCloser interface {
	io.ReadWriteCloser
	CloseWrite() error
}

// join copies both ways until both directions have ended, passing on each end
// of file, then closes both. What the client sent before it closed the channel
// is still delivered; the end of the whole connection cuts everything.
func (c *connection) join(conn net.Conn, channel ssh.Channel, requests <-chan *ssh.Request) {
	stream := stirring{channel, c}
	defer conn.Close()
	defer stream.Close()
	stop := context.AfterFunc(c.ctx, func() { conn.Close() })
	defer stop()
	local, ok := conn.(interface {
		halfCloser
		CloseRead() error
	})
	if !ok {
		ssh.DiscardRequests(requests)
		return
	}
	c.work.Go(func() {
		ssh.DiscardRequests(requests)
		// The channel is closed: nobody takes what the local side still says.
		_ = local.CloseRead()
	})
	var inward sync.WaitGroup
	inward.Go(func() { copyHalf(local, stream) })
	copyHalf(stream, local)
	inward.Wait()
}

func copyHalf(to, from halfCloser) {
	if _, err := io.Copy(to, from); err != nil {
		to.Close()
		from.Close()
		return
	}
	// An error here says that the far side is gone, which its own copy sees.
	_ = to.CloseWrite()
}

// forwardTCP listens for the client (tcpip-forward). The name localhost means
// loopback of both families and the empty name every address (RFC 4254, 7.1).
func (c *connection) forwardTCP(payload []byte) (answer []byte, accepted bool) {
	var want forwardTCPMessage
	if err := ssh.Unmarshal(payload, &want); err != nil || want.Port > 65535 || c.server.config.BlockReverseForward {
		return nil, false
	}
	listeners, err := listenTCP(want.Host, uint16(want.Port))
	if err != nil {
		c.server.config.Logger.Debug("remote forward refused", slog.String("error", err.Error()))
		return nil, false
	}
	port := listeners[0].Addr().(*net.TCPAddr).Port
	forward := &remoteForward{listeners: listeners}
	if !c.addForward(tcpKey(want.Host, uint32(port)), forward) {
		forward.close()
		return nil, false
	}
	for _, listener := range listeners {
		c.work.Go(func() {
			c.accept(listener, "forwarded-tcpip", func(conn net.Conn) []byte {
				origin, ok := conn.RemoteAddr().(*net.TCPAddr)
				if !ok {
					return nil
				}
				return ssh.Marshal(directTCPMessage{
					Host: want.Host, Port: uint32(port), OriginHost: origin.IP.String(), OriginPort: uint32(origin.Port),
				})
			})
		})
	}
	if want.Port == 0 {
		answer = ssh.Marshal(struct{ Port uint32 }{uint32(port)})
	}
	return answer, true
}

func listenTCP(host string, port uint16) ([]net.Listener, error) {
	hosts := []string{host}
	switch host {
	case "localhost":
		hosts = []string{"127.0.0.1", "::1"}
	case "*":
		hosts = []string{""}
	}
	var listeners []net.Listener
	var failures []error
	for _, name := range hosts {
		listener, err := net.Listen("tcp", net.JoinHostPort(name, strconv.Itoa(int(port))))
		if err != nil {
			failures = append(failures, err)
			continue
		}
		if port == 0 {
			port = uint16(listener.Addr().(*net.TCPAddr).Port)
		}
		listeners = append(listeners, listener)
	}
	if len(listeners) == 0 {
		return nil, errors.Join(failures...)
	}
	// A family that the host lacks is not missed, but a port that another
	// program holds in one family is taken.
	for _, failure := range failures {
		if errors.Is(failure, syscall.EADDRINUSE) {
			for _, listener := range listeners {
				listener.Close()
			}
			return nil, failure
		}
	}
	return listeners, nil
}

func (c *connection) cancelTCP(payload []byte) bool {
	var want forwardTCPMessage
	if err := ssh.Unmarshal(payload, &want); err != nil {
		return false
	}
	return c.dropForward(tcpKey(want.Host, want.Port))
}

// forwardUnix listens on a unix socket for the client. A socket that a dead
// program left behind is replaced; one that is being served is not.
func (c *connection) forwardUnix(payload []byte) bool {
	var want forwardUnixMessage
	if err := ssh.Unmarshal(payload, &want); err != nil || want.Path == "" || c.server.config.BlockReverseForward {
		return false
	}
	listener, err := listenUnix(want.Path)
	if err != nil {
		c.server.config.Logger.Debug("remote forward refused", slog.String("error", err.Error()))
		return false
	}
	forward := &remoteForward{listeners: []net.Listener{listener}}
	if !c.addForward("unix:"+want.Path, forward) {
		forward.close()
		return false
	}
	c.work.Go(func() {
		c.accept(listener, "forwarded-streamlocal@openssh.com", func(net.Conn) []byte {
			return ssh.Marshal(forwardedUnixMessage{Path: want.Path})
		})
	})
	return true
}

func listenUnix(path string) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == fs.ModeSocket {
		conn, err := net.DialTimeout("unix", path, time.Second)
		if err == nil {
			conn.Close()
		} else if errors.Is(err, syscall.ECONNREFUSED) {
			if err := os.Remove(path); err != nil {
				return nil, err
			}
		}
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		listener.Close()
		return nil, err
	}
	return listener, nil
}

func (c *connection) cancelUnix(payload []byte) bool {
	var want forwardUnixMessage
	if err := ssh.Unmarshal(payload, &want); err != nil {
		return false
	}
	return c.dropForward("unix:" + want.Path)
}

// accept passes the listener's connections to the client until it is closed.
func (c *connection) accept(listener net.Listener, channelType string, describe func(net.Conn) []byte) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ECONNABORTED) {
				select {
				case <-c.ctx.Done():
				case <-time.After(100 * time.Millisecond):
					continue
				}
			}
			return
		}
		if !c.takeChannel() {
			conn.Close()
			continue
		}
		c.work.Go(func() {
			defer c.freeChannel()
			stream, requests, err := c.wire.OpenChannel(channelType, describe(conn))
			if err != nil {
				conn.Close()
				return
			}
			c.join(conn, stream, requests)
		})
	}
}

func tcpKey(host string, port uint32) string {
	return "tcp:" + net.JoinHostPort(host, strconv.FormatUint(uint64(port), 10))
}

// addForward refuses when the connection has ended, or has this forward or too
// many already.
func (c *connection) addForward(key string, forward *remoteForward) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.forwards == nil || c.forwards[key] != nil || len(c.forwards) >= maxForwards {
		return false
	}
	c.forwards[key] = forward
	return true
}

func (c *connection) dropForward(key string) bool {
	c.mu.Lock()
	forward, found := c.forwards[key]
	delete(c.forwards, key)
	c.mu.Unlock()
	if found {
		forward.close()
	}
	return found
}

func (c *connection) closeForwards() {
	c.mu.Lock()
	forwards := c.forwards
	c.forwards = nil
	c.mu.Unlock()
	for _, forward := range forwards {
		forward.close()
	}
}
