package relay

import (
	"encoding/binary"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"go4.org/mem"
	"tailscale.com/derp"
	"tailscale.com/types/key"
)

// Policy says who may use the relay for what. It is asked often; the relay
// keeps an answer of MayRelay for about a second.
type Policy interface {
	// KnowsKey says whether a peer of the control plane holds this key.
	KnowsKey(k key.NodePublic) bool
	// MayRelay says whether src may send frames to dst.
	MayRelay(src, dst key.NodePublic) bool
}

const (
	// allowedFor is how long a yes is remembered: so long does a session
	// outlive the right to it.
	allowedFor = time.Second
	// deniedFor is how long a no is remembered: so much of a session is lost if
	// its first frame overtakes the tunnel. A client that comes back sends its
	// first handshake before the control plane has answered and the next one,
	// which must pass, right after that, some milliseconds later. Even at this
	// rate the questions of a flood cost next to nothing.
	deniedFor = 2 * time.Millisecond
	// decisionLimit bounds the memory of one connection. A client with more
	// active partners asks more often.
	decisionLimit = 1024
	// strangerGrace is how long a connection may last whose key nobody has
	// announced. A peer connects to the relay and announces itself at about the
	// same time; its control connection may be retrying, with 10 s at most
	// between attempts.
	strangerGrace = time.Minute

	// A connection starts with the small buffer, gets the large one when it
	// fills that in one read, and gives it back after this many small reads.
	// Most connections are idle, and there are many.
	smallBuffer = 4 << 10
	largeBuffer = 64 << 10
	smallReads  = 32
)

var errOversize = errors.New("relay frame is too large")

// gate is the reading side of one relay connection. It passes on the bytes of
// the frames that the policy allows and swallows the rest. One goroutine reads.
type gate struct {
	from   io.Reader
	policy Policy
	who    atomic.Pointer[key.NodePublic] // set with the first frame

	buf        []byte
	start, end int  // what of buf is filled
	quiet      int  // small reads in a row
	filled     bool // the last read left no room
	pass       int  // bytes that may pass before the next header

	decisions map[key.NodePublic]decision
}

type decision struct {
	allowed bool
	until   time.Time
}

func newGate(from io.Reader, early []byte, policy Policy) *gate {
	g := &gate{from: from, policy: policy, buf: make([]byte, max(smallBuffer, len(early)))}
	g.end = copy(g.buf, early)
	return g
}

// watch calls cut when the connection's key has been unknown for long enough;
// then no more. The result ends the watch.
func (g *gate) watch(cut func()) (stop func()) {
	var ended atomic.Bool
	var timer atomic.Pointer[time.Timer]
	check := func() {
		who := g.who.Load()
		if who == nil || !g.policy.KnowsKey(*who) {
			cut()
			return
		}
		if t := timer.Load(); t != nil && !ended.Load() {
			t.Reset(strangerGrace)
		}
	}
	timer.Store(time.AfterFunc(strangerGrace, check))
	return func() {
		ended.Store(true)
		timer.Load().Stop()
	}
}

// Read implements io.Reader.
func (g *gate) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for g.pass == 0 {
		if err := g.nextFrame(); err != nil {
			return 0, err
		}
	}
	if g.start == g.end {
		if err := g.fill(1); err != nil {
			return 0, err
		}
	}
	n := copy(p, g.buf[g.start:min(g.end, g.start+g.pass)])
	g.start += n
	g.pass -= n
	return n, nil
}

// nextFrame looks at the header of the next frame and lets it pass or swallows
// it.
func (g *gate) nextFrame() error {
	if err := g.fill(derp.FrameHeaderLen); err != nil {
		return err
	}
	head := g.buf[g.start:]
	kind := derp.FrameType(head[0])
	body := int(binary.BigEndian.Uint32(head[1:derp.FrameHeaderLen]))
	if g.policy == nil || body < derp.KeyLen {
		g.pass = derp.FrameHeaderLen + body
		return nil
	}
	first := g.who.Load() == nil
	switch {
	case first && kind == derp.FrameClientInfo:
		// Only a claim, until the handshake behind the gate has opened the box
		// that goes with it; before that nothing else is read.
		who, err := g.keyBehindHeader()
		if err != nil {
			return err
		}
		g.who.Store(&who)
	case kind == derp.FrameSendPacket:
		if body > derp.KeyLen+derp.MaxPacketSize {
			return errOversize
		}
		dst, err := g.keyBehindHeader()
		if err != nil {
			return err
		}
		if first || !g.mayRelay(*g.who.Load(), dst) {
			return g.swallow(derp.FrameHeaderLen + body)
		}
	}
	g.pass = derp.FrameHeaderLen + body
	return nil
}

func (g *gate) keyBehindHeader() (key.NodePublic, error) {
	if err := g.fill(derp.FrameHeaderLen + derp.KeyLen); err != nil {
		return key.NodePublic{}, err
	}
	raw := g.buf[g.start+derp.FrameHeaderLen : g.start+derp.FrameHeaderLen+derp.KeyLen]
	return key.NodePublicFromRaw32(mem.B(raw)), nil
}

func (g *gate) mayRelay(src, dst key.NodePublic) bool {
	now := time.Now()
	known, found := g.decisions[dst]
	if found && now.Before(known.until) {
		return known.allowed
	}
	if g.decisions == nil || len(g.decisions) >= decisionLimit {
		g.decisions = map[key.NodePublic]decision{}
	}
	allowed := g.policy.MayRelay(src, dst)
	keep := deniedFor
	if allowed {
		keep = allowedFor
	}
	g.decisions[dst] = decision{allowed: allowed, until: now.Add(keep)}
	return allowed
}

// swallow throws away the next n bytes.
func (g *gate) swallow(n int) error {
	for n > 0 {
		if g.start == g.end {
			if err := g.fill(1); err != nil {
				return err
			}
		}
		gone := min(n, g.end-g.start)
		g.start += gone
		n -= gone
	}
	return nil
}

// fill reads until at least n bytes are in the buffer, which always has room
// for n.
func (g *gate) fill(n int) error {
	if g.end-g.start >= n {
		return nil
	}
	if g.start == g.end {
		g.start, g.end = 0, 0
		g.resize()
	} else if len(g.buf)-g.start < n {
		g.end = copy(g.buf, g.buf[g.start:g.end])
		g.start = 0
	}
	for g.end-g.start < n {
		got, err := g.from.Read(g.buf[g.end:])
		g.end += got
		g.filled = g.end == len(g.buf)
		if got > smallBuffer/2 {
			g.quiet = 0
		} else {
			g.quiet++
		}
		if err != nil && g.end-g.start < n {
			if err == io.EOF && g.end > g.start {
				return io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}

// resize fits the empty buffer to what the connection does.
func (g *gate) resize() {
	switch {
	case len(g.buf) < largeBuffer && g.filled:
		g.buf = make([]byte, largeBuffer)
	case len(g.buf) >= largeBuffer && g.quiet > smallReads:
		g.buf = make([]byte, smallBuffer)
	}
}
