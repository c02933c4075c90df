package vpnproto

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causewayhq/causeway/proto/vpnv1"
)

const (
	// repliesWaiting bounds replies that are not written yet: beyond it no
	// request is read.
	repliesWaiting = 16
	// logsWaiting bounds log records that are not written yet: beyond it they
	// are dropped.
	logsWaiting = 512
	// flushLimit is how long what was accepted may take to be read by the other
	// side at the end.
	flushLimit = 5 * time.Second
)

var (
	// ErrHungUp is wrapped when the manager has gone without having said so.
	ErrHungUp  = errors.New("manager hung up")
	errEnded   = errors.New("the link has ended")
	errNoReply = errors.New("a message without rpc takes no reply")
)

// link writes messages to the manager and pairs replies with what was asked.
// One goroutine writes, so that each message goes out whole.
type link struct {
	in  io.ReadCloser
	out io.WriteCloser
	log *slog.Logger

	replies chan *vpnv1.TunnelMessage
	updates chan *vpnv1.TunnelMessage // has no place: what is sent is of the present
	logs    chan *vpnv1.TunnelMessage
	last    chan *vpnv1.TunnelMessage // nil: only an end
	closing atomic.Bool               // nothing more is accepted

	ended   chan struct{} // the writer has ended
	over    chan struct{} // nothing is written any more
	mu      sync.Mutex
	why     error
	number  uint64
	waiters map[uint64]chan *vpnv1.ManagerMessage
}

func newLink(in io.ReadCloser, out io.WriteCloser) *link {
	return &link{
		in: in, out: out,
		replies: make(chan *vpnv1.TunnelMessage, repliesWaiting), updates: make(chan *vpnv1.TunnelMessage),
		logs: make(chan *vpnv1.TunnelMessage, logsWaiting), last: make(chan *vpnv1.TunnelMessage, 1),
		ended: make(chan struct{}), over: make(chan struct{}), waiters: map[uint64]chan *vpnv1.ManagerMessage{},
	}
}

// start starts the writer.
func (l *link) start(log *slog.Logger) {
	l.log = log
	go func() {
		defer close(l.ended)
		l.end(l.write())
	}()
}

// write ends with the last message, or when the other side reads no more.
func (l *link) write() error {
	for {
		select { // replies first
		case message := <-l.replies:
			if err := l.put(message); err != nil {
				return err
			}
			continue
		default:
		}
		var message *vpnv1.TunnelMessage
		select {
		case message = <-l.replies:
		case message = <-l.updates:
		case message = <-l.logs:
		case message = <-l.last:
			return l.flush(message)
		case <-l.over:
			return errEnded
		}
		if err := l.put(message); err != nil {
			return err
		}
	}
}

// flush writes what was accepted before the last message, and that.
func (l *link) flush(last *vpnv1.TunnelMessage) error {
	for {
		select {
		case message := <-l.replies:
			if err := l.put(message); err != nil {
				return err
			}
			continue
		case message := <-l.logs:
			if err := l.put(message); err != nil {
				return err
			}
			continue
		default:
		}
		break
	}
	if last == nil {
		return errEnded
	}
	if err := l.put(last); err != nil {
		return err
	}
	return errEnded
}

// put writes one message. One that is too long is left out, and a reply becomes
// an empty one, or the manager would wait for ever.
func (l *link) put(message *vpnv1.TunnelMessage) error {
	framed, err := frame(message)
	if err != nil {
		l.log.Error("message not sent", slog.String("error", err.Error()))
		if message.GetRpc() == nil {
			return nil
		}
		if framed, err = frame(&vpnv1.TunnelMessage{Rpc: message.GetRpc()}); err != nil {
			return err
		}
	}
	if _, err := l.out.Write(framed); err != nil {
		return fmt.Errorf("%w: write: %w", ErrHungUp, err)
	}
	return nil
}

// end closes both streams, and lets go whoever waits for a reply.
func (l *link) end(why error) {
	l.closing.Store(true)
	l.mu.Lock()
	if l.why == nil {
		l.why = why
		close(l.over)
	}
	for id, waiter := range l.waiters {
		close(waiter)
		delete(l.waiters, id)
	}
	l.mu.Unlock()
	l.out.Close()
	l.in.Close()
}

// reason is why the link ended, once it has.
func (l *link) reason() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.why
}

// reply answers a request. It waits while too many replies are not read.
func (l *link) reply(ctx context.Context, to *vpnv1.RPC, message *vpnv1.TunnelMessage) error {
	if to.GetMsgId() == 0 {
		return errNoReply
	}
	message.Rpc = &vpnv1.RPC{ResponseTo: to.GetMsgId()}
	return l.hand(ctx, l.replies, message)
}

// push sends what wants no reply. It returns when the writer has taken it.
func (l *link) push(ctx context.Context, message *vpnv1.TunnelMessage) error {
	return l.hand(ctx, l.updates, message)
}

func (l *link) hand(ctx context.Context, to chan<- *vpnv1.TunnelMessage, message *vpnv1.TunnelMessage) error {
	if l.closing.Load() {
		return errEnded
	}
	select { // where there is room a context that has ended is no reason not to
	case to <- message:
		return nil
	default:
	}
	select {
	case to <- message:
		return nil
	case <-l.over:
		return l.reason()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// record sends a log record if there is room at once, and says whether there was.
func (l *link) record(entry *vpnv1.Log) bool {
	if l.closing.Load() {
		return true // dropped silently
	}
	select {
	case l.logs <- &vpnv1.TunnelMessage{Msg: &vpnv1.TunnelMessage_Log{Log: entry}}:
		return true
	default:
		return false
	}
}

// ask sends a request of ours and waits for the answer.
func (l *link) ask(ctx context.Context, message *vpnv1.TunnelMessage) (*vpnv1.ManagerMessage, error) {
	answer := make(chan *vpnv1.ManagerMessage, 1)
	l.mu.Lock()
	if l.why != nil {
		l.mu.Unlock()
		return nil, errEnded
	}
	l.number++
	number := l.number
	l.waiters[number] = answer
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		delete(l.waiters, number)
		l.mu.Unlock()
	}()
	message.Rpc = &vpnv1.RPC{MsgId: number}
	if err := l.push(ctx, message); err != nil {
		return nil, err
	}
	select {
	case got, answered := <-answer:
		if !answered {
			return nil, fmt.Errorf("wait for an answer: %w", io.ErrUnexpectedEOF)
		}
		return got, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// answered gives an answer to who waits for it. Each gets one; an answer that
// nobody waits for is dropped.
func (l *link) answered(message *vpnv1.ManagerMessage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	number := message.GetRpc().GetResponseTo()
	if waiter, waits := l.waiters[number]; waits {
		waiter <- message
		delete(l.waiters, number)
	}
}

// close lets what was accepted be written, then the last message if there is
// one, and ends the link. It waits for the other side to read, but not for long.
func (l *link) close(last *vpnv1.TunnelMessage) error {
	l.closing.Store(true)
	select {
	case l.last <- last:
	default: // it is being closed
	}
	timer := time.NewTimer(flushLimit)
	defer timer.Stop()
	select {
	case <-l.ended:
	case <-timer.C:
		// The writer is let go by this, but not waited for: where a pipe cannot
		// be closed under it, only the end of the process ends it.
		l.end(fmt.Errorf("%w: it has not read for %v", ErrHungUp, flushLimit))
	}
	if why := l.reason(); !errors.Is(why, errEnded) {
		return why
	}
	return nil
}
