package tunnel

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/net/dns/dnsmessage"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/causewayhq/causeway/control"
	"github.com/causewayhq/causeway/netcfg"
	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/tailnetv2"
	"github.com/causewayhq/causeway/tailnet"
	"github.com/causewayhq/causeway/tun"
)

func inAnHour() *timestamppb.Timestamp { return timestamppb.New(time.Now().Add(time.Hour)) }

// question asks a tunnel for the AAAA of a name.
func question(t *testing.T, tunnel *Tunnel, name string) (dnsmessage.RCode, []netip.Addr) {
	t.Helper()
	query := dnsmessage.Message{Header: dnsmessage.Header{ID: 7, RecursionDesired: true}, Questions: []dnsmessage.Question{
		{Name: dnsmessage.MustNewName(name + "."), Type: dnsmessage.TypeAAAA, Class: dnsmessage.ClassINET},
	}}
	packed, err := query.Pack()
	if err != nil {
		t.Fatal(err)
	}
	reply := tunnel.Query(packed)
	if reply == nil {
		return dnsmessage.RCodeServerFailure, nil
	}
	var answer dnsmessage.Message
	if err := answer.Unpack(reply); err != nil {
		t.Fatal(err)
	}
	var addrs []netip.Addr
	for _, record := range answer.Answers {
		if aaaa, ok := record.Body.(*dnsmessage.AAAAResource); ok {
			addrs = append(addrs, netip.AddrFrom16(aaaa.AAAA))
		}
	}
	return answer.RCode, addrs
}

func resolves(t *testing.T, tunnel *Tunnel, name, agent string) bool {
	t.Helper()
	code, addrs := question(t, tunnel, name)
	return code == dnsmessage.RCodeSuccess && slices.Equal(addrs, []netip.Addr{addrOf(agent)})
}

func TestUpAndDown(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	r := newRig(t, newPlane(t), dir).start()
	status := r.waitState(Connected)
	if status.User != "alice" || status.Suffix != "coder" || !status.ControlConnected || !status.CanaryOK || status.DNSMode != "fake" ||
		len(status.Problems) != 0 || status.HomeRelay.Name != "Home" || !proto.ServicePrefix.Contains(status.Address) {
		t.Errorf("status %+v", status)
	}
	if len(status.Agents) != 1 || !slices.Equal(status.Agents[0].Names, []string{"myws.coder", "main.myws.me.coder", "main.myws.alice.coder"}) {
		t.Errorf("agents %+v", status.Agents)
	}
	for _, name := range []string{"myws.coder", "main.myws.me.coder", "MAIN.MyWs.Alice.coder"} {
		if !resolves(t, r.Tunnel, name, "main") {
			t.Errorf("%s does not resolve", name)
		}
	}
	eventually(t, "names in the host's configuration", func() bool { return len(r.host.names()) == 4 })
	want := r.host.last()
	if want.Interface != "fake0" || want.MTU != 1280 || !slices.Equal(want.Addresses, []netip.Prefix{netip.PrefixFrom(status.Address, 128)}) ||
		!slices.Equal(want.Routes, []netip.Prefix{proto.ServicePrefix}) || !slices.Equal(want.DNS.Suffixes, []string{"coder"}) ||
		!slices.Equal(want.DNS.Nameservers, []netip.Addr{proto.DNSAddr}) {
		t.Errorf("host %+v", want)
	}
	if err := r.stop(); err != nil {
		t.Errorf("Run ended with %v", err)
	}
	if status := r.Status(); status.State != Stopped || status.ControlConnected || len(status.Agents) != 0 {
		t.Errorf("afterwards %+v", status)
	}
	got := strings.Join(r.order.list, ", ")
	if want := "device opened, engine started, host configured, host emptied, host cleaned, device closed"; got != want {
		t.Errorf("order %q, want %q", got, want)
	}
	r.plane.set(func(p *plane) {
		if len(p.said) == 0 || p.said[len(p.said)-1].GetDisconnect() == nil {
			t.Error("no graceful disconnect")
		}
	})
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("state directory %v, %v", info.Mode(), err)
	}
}

// A second process has the same identity and address, and its names before the
// control plane is there.
func TestRestartWithoutControlPlane(t *testing.T) {
	dir, p := t.TempDir(), newPlane(t)
	peer := idOf("main")
	p.peers = []*tailnetv2.CoordinateResponse_PeerUpdate{{Id: peer[:], Kind: tailnetv2.CoordinateResponse_PeerUpdate_NODE, Node: &tailnetv2.Node{Id: 77}}}
	first := newRig(t, p, dir).start()
	before := first.waitState(Connected)
	eventually(t, "peer heard of", func() bool { e := first.engine(); e.mu.Lock(); defer e.mu.Unlock(); return len(e.updates) == 1 })
	eventually(t, "resume token kept", func() bool { return first.kept().Resume.Token != "" })
	first.engine().do(func() { first.engine().peers[peer] = tailnet.PeerStatus{LastHandshake: time.Now()} })
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}

	p.refuse(503)
	second := newRig(t, p, dir).start()
	status := second.wait("degraded with names", func(s Status) bool { return s.State == Degraded && s.CanaryOK })
	if status.Address != before.Address || status.User != "alice" || len(status.Agents) != 1 || status.WorkspacesAsOf.IsZero() ||
		status.Problems[0].Code != CodeUnreachable {
		t.Errorf("status %+v", status)
	}
	if !resolves(t, second.Tunnel, "main.myws.me.coder", "main") {
		t.Error("a known name went dark")
	}
	e := second.engine()
	e.do(func() {
		if !e.kept.Identity.Node.Equal(first.engine().kept.Identity.Node) || e.kept.Identity.Port != 4242 {
			t.Error("another identity")
		}
		if !slices.Equal(e.handshake, []uuid.UUID{peer}) || len(e.updates) != 1 || e.updates[0].GetNode().GetId() != 77 || len(e.relays) == 0 {
			t.Errorf("handshakes %v, updates %v, relay maps %d", e.handshake, e.updates, len(e.relays))
		}
	})
	p.refuse(0)
	second.Kick()
	second.waitState(Connected)
	p.set(func(p *plane) {
		if last := p.resumes[len(p.resumes)-1]; last != "resume-1" {
			t.Errorf("resume token %q", last)
		}
	})
}

func TestNamesSurviveOutageAndFollowSnapshot(t *testing.T) {
	p := newPlane(t)
	r := newRig(t, p, t.TempDir()).start()
	r.waitState(Connected)
	p.refuse(502)
	r.wait("problem", func(s Status) bool { return s.State == Degraded && s.Problems[0].Code == CodeUnreachable })
	if !resolves(t, r.Tunnel, "myws.coder", "main") {
		t.Error("a name went dark with the control plane")
	}
	p.set(func(p *plane) { p.snapshot = snapshot("other", "second") })
	p.refuse(0)
	r.Kick()
	r.waitState(Connected)
	if !resolves(t, r.Tunnel, "second.coder", "other") {
		t.Error("the new name does not resolve")
	}
	if code, _ := question(t, r.Tunnel, "myws.coder"); code != dnsmessage.RCodeNameError {
		t.Errorf("the old name answers %v", code)
	}
	p.updates <- &tailnetv2.WorkspaceUpdate{UpsertedAgents: []*tailnetv2.Agent{message("extra", "extra", "second")}}
	r.wait("second agent", func(s Status) bool { return len(s.Agents) == 2 })
	if code, _ := question(t, r.Tunnel, "second.coder"); code != dnsmessage.RCodeNameError {
		t.Errorf("the short alias of two agents answers %v", code)
	}
	if !resolves(t, r.Tunnel, "extra.second.me.coder", "extra") {
		t.Error("the second agent does not resolve")
	}
}

func TestSignedOut(t *testing.T) {
	p := newPlane(t)
	p.status = 401
	r := newRig(t, p, t.TempDir()).start()
	status := r.waitState(Failed)
	if status.Problems[0].Code != CodeSignedOut || !strings.Contains(status.Problems[0].Remedy, "causeway login") {
		t.Errorf("problems %+v", status.Problems)
	}
	p.refuse(0)
	r.Kick()
	r.waitState(Connected)
	p.refuse(401) // later, with names: they go on
	status = r.wait("signed out", func(s Status) bool { return len(s.Problems) > 0 && s.Problems[0].Code == CodeSignedOut })
	if status.State != Degraded || !resolves(t, r.Tunnel, "myws.coder", "main") {
		t.Errorf("status %+v", status)
	}
}

func TestCanaryIsBelieved(t *testing.T) {
	r := newRig(t, newPlane(t), t.TempDir()).start()
	r.waitState(Connected)
	r.host.mu.Lock()
	r.host.deaf = true
	r.host.mu.Unlock()
	r.Kick()
	status := r.waitState(Degraded)
	if status.CanaryOK || status.Problems[0].Code != CodeNames {
		t.Errorf("status %+v", status)
	}
	r.host.mu.Lock()
	r.host.deaf = false
	r.host.mu.Unlock()
	r.host.changed(netcfg.Woke)
	r.waitState(Connected)
	eventually(t, "one rebind after waking", func() bool { return r.engine().rebindCount() == 1 })
}

func TestPingAndPeerStatus(t *testing.T) {
	p := newPlane(t)
	p.snapshot.UpsertedAgents = append(p.snapshot.UpsertedAgents, message("gone", "gone", "myws"))
	r := newRig(t, p, t.TempDir()).start()
	if _, err := r.Ping(t.Context(), "main.myws"); err == nil {
		t.Error("a ping before the names are known worked")
	}
	r.waitState(Connected)
	go func() { // announced while the first ping waits
		time.Sleep(3 * announcePoll)
		r.engine().do(func() { r.engine().peers[idOf("main")] = tailnet.PeerStatus{} })
	}()
	for _, name := range []string{"main.myws.me.coder", "main.myws.me.coder.", "MAIN.myws.ALICE", "main.myws.me", "main.myws",
		addrOf("main").String(), proto.AddrFromUUID(proto.TailscalePrefix, idOf("main")).String(), "[" + addrOf("main").String() + "]"} {
		reply, err := r.Ping(t.Context(), name)
		if err != nil || reply.Addr != addrOf("main") || reply.Name != "main.myws.me.coder" || reply.Relay.Code != "home" || reply.Latency == 0 {
			t.Errorf("ping %s: %+v, %v", name, reply, err)
		}
	}
	for _, name := range []string{"", "myws", "nobody.myws", "fd60:627a:a42b::53", "1.2.3.4", "main.myws.me.other", "is.coder--connect--enabled--right--now.coder"} {
		if _, err := r.Ping(t.Context(), name); !errors.Is(err, ErrUnknownName) {
			t.Errorf("ping %q: %v", name, err)
		}
	}
	short, cancel := context.WithTimeout(t.Context(), 2*announcePoll)
	if _, err := r.Ping(short, "gone.myws"); !errors.Is(err, ErrOffline) {
		t.Errorf("ping of an agent that is away: %v", err)
	}
	cancel()
	main := r.Status().Agents[1]
	if main.Name != "main" || !main.Reachable || main.Latency != 3*time.Millisecond || !main.Measured || main.Direct || main.Relay.Name != "Home" {
		t.Errorf("agent %+v", main)
	}
	if !main.Tried {
		t.Error("an agent that answered counts as not tried")
	}
	if gone := r.Status().Agents[0]; gone.Reachable || gone.Measured || gone.Tried {
		t.Errorf("agent %+v", gone)
	}
	r.engine().do(func() { r.engine().peers[idOf("gone")] = tailnet.PeerStatus{TxBytes: 148} })
	if gone := r.Status().Agents[0]; gone.Reachable || !gone.Tried {
		t.Errorf("agent %+v", gone)
	}
	endpoint := netip.MustParseAddrPort("192.0.2.1:5")
	r.engine().do(func() {
		r.engine().peers[idOf("main")] = tailnet.PeerStatus{Active: true, Direct: true, Endpoint: endpoint, LastHandshake: time.Now(), RxBytes: 9}
	})
	if main = r.Status().Agents[1]; !main.Direct || main.Endpoint != endpoint || main.Relay != nil || main.RxBytes != 9 {
		t.Errorf("agent %+v", main)
	}
}

// What the control plane says later reaches a tunnel that started from disk;
// a changed kind of data plane, or another user, makes it anew.
func TestControlPlaneChangedItsMind(t *testing.T) {
	tests := []struct {
		name    string
		change  func(*plane)
		engines int
		check   func(Status) bool
	}{
		{"suffix", func(p *plane) { p.connection = strings.Replace(p.connection, `"coder"`, `"corp"`, 1) }, 1,
			func(s Status) bool { return s.Suffix == "corp" && s.Agents[0].Names[0] == "myws.corp" }},
		{"direct paths off", func(p *plane) {
			p.connection = strings.Replace(p.connection, `{`, `{"disable_direct_connections":true,`, 1)
		}, 2,
			func(s Status) bool { return len(s.Agents) == 1 }},
		{"another user", func(p *plane) { p.user, p.username = uuid.New(), "bob" }, 2,
			func(s Status) bool {
				return s.User == "bob" && len(s.Agents) == 1 && s.Agents[0].Names[1] == "main.myws.me.coder"
			}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir, p := t.TempDir(), newPlane(t)
			first := newRig(t, p, dir).start()
			address := first.waitState(Connected).Address
			if err := first.stop(); err != nil {
				t.Fatal(err)
			}
			p.set(test.change)
			second := newRig(t, p, dir).start()
			eventually(t, "data plane as it should be", func() bool {
				second.mu.Lock()
				defer second.mu.Unlock()
				return len(second.engines) == test.engines
			})
			status := second.wait("the new answer", func(s Status) bool { return s.State == Connected && test.check(s) })
			if (status.Address == address) == (test.name == "another user") {
				t.Errorf("address %s, before %s", status.Address, address)
			}
			if err := second.stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestFailuresOfRun(t *testing.T) {
	p := newPlane(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		change func(*rig)
		want   error
		text   string
	}{
		{"state directory is a file", func(r *rig) { r.config.StateDir = file }, ErrStateDir, file},
		{"device", func(r *rig) {
			r.config.OpenDevice = func(string, int) (tun.Device, error) { return nil, tun.ErrNoPermission }
		}, ErrDevice, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t, p, t.TempDir())
			test.change(r)
			err := r.Run(t.Context())
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
				t.Fatalf("got %v", err)
			}
			if status := r.Status(); status.State != Failed || status.Problems[0].Code != CodeStopped {
				t.Errorf("status %+v", status)
			}
			if len(r.host.applied) != 0 {
				t.Error("the host was touched")
			}
		})
	}
}

func TestEndWhileNothingIsKnown(t *testing.T) {
	p := newPlane(t)
	p.status = 500
	r := newRig(t, p, t.TempDir()).start()
	r.wait("problem", func(s Status) bool { return s.State == Starting && len(s.Problems) == 1 })
	if err := r.stop(); err != nil {
		t.Errorf("Run ended with %v", err)
	}
	if got := strings.Join(r.order.list, ", "); got != "device opened, device closed, host cleaned" {
		t.Errorf("order %q", got)
	}
}

func TestStatusNeverWaits(t *testing.T) {
	r := newRig(t, newPlane(t), t.TempDir())
	if status := r.Status(); status.State != Stopped {
		t.Errorf("before Run: %+v", status)
	}
	if r.Query([]byte{1}) != nil {
		t.Error("an answer before Run")
	}
	if _, err := r.Ping(context.Background(), "x"); !errors.Is(err, ErrNotRunning) {
		t.Errorf("ping before Run: %v", err)
	}
	r.Kick()
}

var _ control.Coordinatee = (*tailnet.Engine)(nil)
var _ Engine = (*tailnet.Engine)(nil)
