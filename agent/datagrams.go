package agent

import (
	"bytes"
	"context"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"
)

// flowIdle is how long a UDP flow lives without a packet either way: the least
// that a NAT should keep one (RFC 4787, 4.3), so that programs which cope with
// NATs cope with us.
const flowIdle = 2 * time.Minute

// maxUnanswered is how many packets are kept for the second address, until the
// first has answered.
const maxUnanswered = 8

// maxDatagram is the largest UDP payload.
const maxDatagram = 65535

// flow carries the datagrams of one remote port to a program on localhost and
// back. Nobody says whether a UDP port is open, so the first address is tried,
// and if the kernel then reports that nobody listens there, the next one.
type flow struct {
	client net.Conn
	idle   *time.Timer

	mu         sync.Mutex
	dials      []func() (net.Conn, error) // the addresses not tried yet
	backend    net.Conn
	answered   bool
	unanswered [][]byte
	closed     bool
}

func newFlow(client net.Conn, dials []func() (net.Conn, error)) *flow {
	return &flow{client: client, dials: dials}
}

// run lives until the flow is idle, nobody answers, or the context ends.
func (f *flow) run(ctx context.Context) {
	defer f.close()
	if !f.next(nil) {
		return
	}
	f.idle = time.AfterFunc(flowIdle, f.close)
	defer f.idle.Stop()
	stop := context.AfterFunc(ctx, f.close)
	defer stop()

	var outward sync.WaitGroup
	defer outward.Wait()
	defer f.close()
	outward.Go(f.fromClient)
	f.fromBackend()
}

func (f *flow) fromClient() {
	defer f.close()
	buffer := make([]byte, maxDatagram)
	for {
		count, err := f.client.Read(buffer)
		if err != nil {
			return
		}
		f.idle.Reset(flowIdle)
		if !f.send(buffer[:count]) {
			return
		}
	}
}

func (f *flow) send(packet []byte) bool {
	f.mu.Lock()
	backend := f.backend
	if !f.answered && len(f.dials) > 0 && len(f.unanswered) < maxUnanswered {
		f.unanswered = append(f.unanswered, bytes.Clone(packet))
	}
	f.mu.Unlock()
	_, err := backend.Write(packet)
	switch {
	case err == nil:
		return true
	case errors.Is(err, syscall.EMSGSIZE) || errors.Is(err, syscall.ENOBUFS):
		return true // this packet is lost, as it would be on any path
	case refused(err):
		// The kernel reports here what an earlier packet met.
		return f.next(backend)
	}
	return f.replaced(backend)
}

func (f *flow) fromBackend() {
	buffer := make([]byte, maxDatagram)
	for {
		f.mu.Lock()
		backend := f.backend
		f.mu.Unlock()
		count, err := backend.Read(buffer)
		if err == nil {
			f.idle.Reset(flowIdle)
			f.noteAnswer()
			_, err = f.client.Write(buffer[:count])
			if err != nil {
				return
			}
			continue
		}
		if refused(err) && f.next(backend) || f.replaced(backend) {
			continue
		}
		return
	}
}

func refused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

func (f *flow) noteAnswer() {
	f.mu.Lock()
	f.answered, f.unanswered = true, nil
	f.mu.Unlock()
}

// replaced says that the backend is no longer the current one.
func (f *flow) replaced(backend net.Conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.closed && f.backend != backend
}

// next gives up the backend that failed for the next address, and sends again
// what nobody has answered. A backend that has answered once is kept: its
// program is being restarted. False says that there is nothing to go on with.
func (f *flow) next(failed net.Conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return false
	}
	if f.backend != failed || f.answered {
		return true
	}
	for len(f.dials) > 0 {
		dial := f.dials[0]
		f.dials = f.dials[1:]
		backend, err := dial()
		if err != nil {
			continue
		}
		if f.backend != nil {
			f.backend.Close()
		}
		f.backend = backend
		for _, packet := range f.unanswered {
			if _, err := backend.Write(packet); err != nil {
				break // the reader hears of it as well
			}
		}
		return true
	}
	return false
}

func (f *flow) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	f.client.Close()
	if f.backend != nil {
		f.backend.Close()
	}
}
