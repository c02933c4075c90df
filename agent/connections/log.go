package connections

import (
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/causewayhq/causeway/proto/agentv2"
)

const (
	// maxQueued is how many reports wait for the control plane, as upstream's
	// agent has it (docs of the protocol, 5.6).
	maxQueued = 2048
	// maxReason is far above the reasons that our servers give, in bytes.
	maxReason = 1024
)

// Log keeps what was not told yet. Open and Counts never wait for the control
// plane. All methods are safe for concurrent use.
type Log struct {
	logger *slog.Logger
	wake   chan struct{}

	mu    sync.Mutex
	queue []report
	// empty is closed while there is none.
	empty chan struct{}
	live  map[agentv2.Connection_Type]int64
	// full says that reports were given up since the queue was last empty, which
	// is logged once.
	full bool
	// deaf says that the control plane takes no reports: none are kept for it.
	deaf bool
}

// session is one connection to the workspace.
type session struct {
	id   uuid.UUID
	kind agentv2.Connection_Type
	ip   string
	// told says that the control plane has heard of it, or is hearing of it.
	told bool
	// dropped says that it will never hear of it.
	dropped bool
}

type report struct {
	session *session
	message *agentv2.Connection
}

// New makes an empty log.
func New(logger *slog.Logger) *Log {
	l := &Log{logger: logger, wake: make(chan struct{}, 1), empty: make(chan struct{}), live: map[agentv2.Connection_Type]int64{}}
	close(l.empty)
	return l
}

// Open notes that a session began, which ends when closed is called. The first
// call counts; the code is the exit code of what ran in it.
func (l *Log) Open(kind agentv2.Connection_Type, remote net.Addr) (closed func(code int32, reason string)) {
	s := &session{id: uuid.New(), kind: kind, ip: address(remote)}
	l.mu.Lock()
	l.live[kind]++
	switch {
	case l.deaf:
		s.dropped = true
	case len(l.queue) < maxQueued:
		l.pushLocked(s, &agentv2.Connection{Action: agentv2.Connection_CONNECT})
	default:
		l.dropLocked(s)
	}
	l.mu.Unlock()
	var once sync.Once
	return func(code int32, reason string) { once.Do(func() { l.close(s, code, reason) }) }
}

func (l *Log) close(s *session, code int32, reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.live[s.kind]--
	if s.dropped {
		return
	}
	if len(l.queue) >= maxQueued && !l.makeRoomLocked() {
		// Every report that waits is the end of a session that the control plane
		// knows: nobody can have had as many sessions open at once.
		l.dropLocked(s)
		return
	}
	if s.dropped { // it was the one that made room
		return
	}
	message := &agentv2.Connection{Action: agentv2.Connection_DISCONNECT, StatusCode: code}
	if text := clean(reason); text != "" {
		message.Reason = &text
	}
	l.pushLocked(s, message)
}

// makeRoomLocked gives up the newest session that the control plane has not
// heard of, with all its reports: an end that is never told would leave a
// session open for ever. The caller holds mu.
func (l *Log) makeRoomLocked() bool {
	for _, each := range slices.Backward(l.queue) {
		if !each.session.told {
			l.dropLocked(each.session)
			l.queue = slices.DeleteFunc(l.queue, func(r report) bool { return r.session == each.session })
			return true
		}
	}
	return false
}

func (l *Log) dropLocked(s *session) {
	s.dropped = true
	if !l.full {
		l.full = true
		l.logger.Warn("too many connections wait to be reported; some will never be", slog.Int("queued", len(l.queue)))
	}
}

func (l *Log) pushLocked(s *session, message *agentv2.Connection) {
	message.Id, message.Type, message.Ip, message.Timestamp = s.id[:], s.kind, s.ip, timestamppb.Now()
	if len(l.queue) == 0 {
		l.empty = make(chan struct{})
	}
	l.queue = append(l.queue, report{s, message})
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Counts are the sessions that are open now, by their type.
func (l *Log) Counts() map[agentv2.Connection_Type]int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	result := make(map[agentv2.Connection_Type]int64, len(l.live))
	for kind, count := range l.live {
		if count > 0 {
			result[kind] = count
		}
	}
	return result
}

// address is the IP address that a report holds: without port and zone, and ""
// for what is not an address.
func address(remote net.Addr) string {
	if remote == nil {
		return ""
	}
	text := remote.String()
	if host, _, err := net.SplitHostPort(text); err == nil {
		text = host
	}
	if text == "localhost" {
		return "127.0.0.1"
	}
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return ""
	}
	return addr.Unmap().WithZone("").String()
}

// clean makes a reason fit to be sent: what is not UTF-8 cannot be.
func clean(reason string) string {
	reason = reason[:min(len(reason), maxReason)]
	return strings.ToValidUTF8(reason, "")
}
