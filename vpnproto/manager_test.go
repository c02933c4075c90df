package vpnproto

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	wire "github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/tailnetv2"
	"github.com/causewayhq/causeway/proto/vpnv1"
	"github.com/causewayhq/causeway/tunnel"
	"github.com/causewayhq/causeway/workspace"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// core is a tunnel that does what a test says.
type core struct {
	profile tunnel.Profile
	start   Start
	ended   error // of Run, when its context ends

	mu        sync.Mutex
	changed   chan struct{}
	status    tunnel.Status
	inventory tunnel.Inventory
	ping      func(context.Context, uuid.UUID) (tunnel.PingReply, error)
	pinged    []uuid.UUID
	home      *tunnel.Relay
	wakes     []time.Time
	running   bool
	runs      int
	broke     chan error // ends Run by itself
}

// up is a core that comes up at once.
func up() *core {
	return &core{
		changed: make(chan struct{}), broke: make(chan error, 1),
		status: tunnel.Status{State: tunnel.Connected, ControlConnected: true},
	}
}

func (c *core) Run(ctx context.Context) error {
	c.set(func() { c.running, c.runs = true, c.runs+1 })
	defer c.set(func() { c.running = false })
	select {
	case <-ctx.Done():
		return c.ended
	case err := <-c.broke:
		return err
	}
}

func (c *core) set(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *core) Changed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
}

func (c *core) Status() tunnel.Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status
}

func (c *core) Revision() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.inventory.Revision
}

func (c *core) Inventory() tunnel.Inventory {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.inventory
}

func (c *core) HomeRelay() *tunnel.Relay {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.home
}

func (c *core) PingAgent(ctx context.Context, id uuid.UUID) (tunnel.PingReply, error) {
	c.mu.Lock()
	ping := c.ping
	c.pinged = append(c.pinged, id)
	c.mu.Unlock()
	if ping == nil {
		return tunnel.PingReply{}, tunnel.ErrOffline
	}
	return ping(ctx, id)
}

func (c *core) Wake() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wakes = append(c.wakes, time.Now())
	return nil
}

func (c *core) isRunning() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.running
}

// waitRunning waits for Run to be called: an answer may come first.
func (c *core) waitRunning() bool {
	for range 1000 {
		changed := c.Changed()
		if c.isRunning() {
			return true
		}
		select {
		case <-changed:
		case <-time.After(10 * time.Second):
			return false
		}
	}
	return false
}

// has replaces what exists; as a snapshot, or as a difference.
func (c *core) has(snapshot bool, agents ...tunnel.AgentStatus) {
	c.set(func() {
		list := tunnel.Inventory{Revision: c.inventory.Revision + 1, Snapshots: c.inventory.Snapshots, Known: true, Agents: agents}
		if snapshot {
			list.Snapshots++
		}
		for _, agent := range agents {
			list.Workspaces = append(list.Workspaces, agent.Workspace)
		}
		c.inventory = list
	})
}

// agent number n, alone in workspace number n.
func agent(n byte) tunnel.AgentStatus {
	id := uuid.UUID(repeated(n))
	name := fmt.Sprintf("ws%d", n)
	return tunnel.AgentStatus{
		ID: id, Name: "main", Workspace: workspace.Workspace{ID: uuid.UUID(repeated(n + 0x10)), Name: name, Status: tailnetv2.Workspace_RUNNING},
		Names:     []string{name + ".coder", "main." + name + ".me.coder"},
		Addresses: []netip.Addr{wire.AddrFromUUID(wire.ServicePrefix, id), wire.AddrFromUUID(wire.TailscalePrefix, id)},
	}
}

func repeated(b byte) []byte { return []byte(strings.Repeat(string([]byte{b}), 16)) }

// manager is the other side of a session, on raw bytes.
type manager struct {
	t     *testing.T
	in    *io.PipeReader
	out   *io.PipeWriter
	ended chan error
	cores chan *core
	next  uint64
}

// silent is above every level: no log records among the messages.
const silent = LevelFatal + 1

// begin starts a session behind its handshake; each start gets the next core.
func begin(t *testing.T, version Version, level slog.Level, cores ...*core) *manager {
	t.Helper()
	toTunnel, out := io.Pipe()
	in, fromTunnel := io.Pipe()
	m := &manager{t: t, in: in, out: out, ended: make(chan error, 1), cores: make(chan *core, len(cores))}
	for _, c := range cores {
		m.cores <- c
	}
	config := Config{Log: slog.DiscardHandler, Level: level, New: func(profile tunnel.Profile, start Start) (Core, error) {
		select {
		case c := <-m.cores:
			c.profile, c.start = profile, start
			return c, nil
		default:
			return nil, errors.New("no tunnel can be made")
		}
	}}
	go func() { m.ended <- serve(t.Context(), toTunnel, fromTunnel, version, config) }()
	t.Cleanup(func() { out.Close(); in.Close() })
	return m
}

// raw writes bytes given in hexadecimal, with any blanks.
func (m *manager) raw(text string) {
	m.t.Helper()
	if _, err := m.out.Write(unhex(m.t, text)); err != nil {
		m.t.Fatalf("write: %v", err)
	}
}

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	bytes, err := hex.DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil {
		t.Fatal(err)
	}
	return bytes
}

// bytes reads one whole frame; nil at the end of the stream.
func (m *manager) bytes() []byte {
	m.t.Helper()
	head := make([]byte, 4)
	if _, err := io.ReadFull(m.in, head); err != nil {
		if err != io.EOF {
			m.t.Fatalf("read: %v, want a whole message or the end", err)
		}
		return nil
	}
	body := make([]byte, binary.BigEndian.Uint32(head))
	if _, err := io.ReadFull(m.in, body); err != nil {
		m.t.Fatalf("read body: %v", err)
	}
	return append(head, body...)
}

// read gives the next message; nil at the end.
func (m *manager) read() *vpnv1.TunnelMessage {
	m.t.Helper()
	bytes := m.bytes()
	if bytes == nil {
		return nil
	}
	message := &vpnv1.TunnelMessage{}
	if err := proto.Unmarshal(bytes[4:], message); err != nil {
		m.t.Fatal(err)
	}
	return message
}

// say sends a message, with the next number.
func (m *manager) say(message *vpnv1.ManagerMessage) uint64 {
	m.t.Helper()
	m.next++
	message.Rpc = &vpnv1.RPC{MsgId: m.next}
	m.put(message)
	return m.next
}

func (m *manager) put(message *vpnv1.ManagerMessage) {
	m.t.Helper()
	body, err := proto.Marshal(message)
	if err != nil {
		m.t.Fatal(err)
	}
	if _, err := m.out.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)); err != nil {
		m.t.Fatalf("write: %v", err)
	}
}

// ask sends a request and reads until its reply; what comes before is given too.
func (m *manager) ask(message *vpnv1.ManagerMessage) (reply *vpnv1.TunnelMessage, before []*vpnv1.TunnelMessage) {
	m.t.Helper()
	return m.replyTo(m.say(message))
}

func (m *manager) replyTo(number uint64) (reply *vpnv1.TunnelMessage, before []*vpnv1.TunnelMessage) {
	m.t.Helper()
	for {
		got := m.read()
		if got == nil {
			m.t.Fatalf("the stream ended before the reply to %d", number)
		}
		if got.GetRpc().GetResponseTo() == number {
			return got, before
		}
		before = append(before, got)
	}
}

func (m *manager) start() *vpnv1.StartResponse {
	m.t.Helper()
	reply, _ := m.ask(startMessage("https://coder.example", "token"))
	return reply.GetStart()
}

// stop ends the session and gives what came up to the end.
func (m *manager) stop() (*vpnv1.StopResponse, []*vpnv1.TunnelMessage) {
	m.t.Helper()
	reply, before := m.ask(stopMessage0())
	if extra := m.read(); extra != nil {
		m.t.Errorf("after the stop's response: %v, want the end", extra)
	}
	return reply.GetStop(), before
}

func (m *manager) end() error {
	m.t.Helper()
	select {
	case err := <-m.ended:
		return err
	case <-time.After(20 * time.Second):
		m.t.Fatal("the session does not end")
		return nil
	}
}

// update reads until a peer update that is no reply.
func (m *manager) update() *vpnv1.PeerUpdate {
	m.t.Helper()
	for {
		got := m.read()
		if got == nil {
			m.t.Fatal("the stream ended before an update")
		}
		if got.GetRpc() == nil && got.GetPeerUpdate() != nil {
			return got.GetPeerUpdate()
		}
	}
}

func startMessage(access, token string) *vpnv1.ManagerMessage {
	return &vpnv1.ManagerMessage{Msg: &vpnv1.ManagerMessage_Start{Start: &vpnv1.StartRequest{CoderUrl: access, ApiToken: token}}}
}

func stopMessage0() *vpnv1.ManagerMessage {
	return &vpnv1.ManagerMessage{Msg: &vpnv1.ManagerMessage_Stop{Stop: &vpnv1.StopRequest{}}}
}

func wakeMessage() *vpnv1.ManagerMessage {
	return &vpnv1.ManagerMessage{Msg: &vpnv1.ManagerMessage_Wake{Wake: &vpnv1.WakeRequest{}}}
}

func peersMessage() *vpnv1.ManagerMessage {
	return &vpnv1.ManagerMessage{Msg: &vpnv1.ManagerMessage_GetPeerUpdate{GetPeerUpdate: &vpnv1.GetPeerUpdate{}}}
}

// unreachable is the status of a tunnel that cannot reach its control plane.
func unreachable(state tunnel.State) tunnel.Status {
	return tunnel.Status{State: state, Problems: []tunnel.Problem{{Code: tunnel.CodeUnreachable, Cause: "connection refused"}}}
}

func idsOf(agents []*vpnv1.Agent) string {
	var text strings.Builder
	for _, agent := range agents {
		fmt.Fprintf(&text, "%x ", agent.Id[0])
	}
	return strings.TrimSpace(text.String())
}
