package tailnet

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"tailscale.com/types/key"

	"github.com/causewayhq/causeway/proto/tailnetv2"
)

func TestIdentityOnDisk(t *testing.T) {
	identity := NewIdentity()
	identity.Port = 41641
	data, err := json.Marshal(identity)
	if err != nil {
		t.Fatal(err)
	}
	var read Identity
	if err := json.Unmarshal(data, &read); err != nil {
		t.Fatal(err)
	}
	if !read.Node.Equal(identity.Node) || !read.Disco.Equal(identity.Disco) || read.Port != identity.Port {
		t.Error("the identity changed on its way to disk and back")
	}
	if again, err := json.Marshal(read); err != nil || !bytes.Equal(again, data) {
		t.Errorf("written again it differs: %v", err)
	}
	if _, err := json.Marshal(Identity{}); err == nil {
		t.Error("an empty identity was written")
	}
	other := NewIdentity()
	if other.Node.Equal(identity.Node) || other.Disco.Equal(identity.Disco) {
		t.Error("two new identities share a key")
	}
}

func TestCorruptIdentity(t *testing.T) {
	data, err := json.Marshal(NewIdentity())
	if err != nil {
		t.Fatal(err)
	}
	good := string(data)
	for name, bad := range map[string]string{
		"empty": "", "truncated": good[:len(good)/2], "no keys": "{}", "wrong type": `{"node":1}`, "garbage": "\x00\x01",
		"short disco": `{"node":` + good[len(`{"node":`):strings.Index(good, `,"disco"`)] + `,"disco":"00","port":1}`,
		"zero disco":  `{"node":` + good[len(`{"node":`):strings.Index(good, `,"disco"`)] + `,"disco":"` + strings.Repeat("00", 32) + `","port":1}`,
		"port":        strings.Replace(good, `"port":0`, `"port":65536`, 1),
	} {
		var read Identity
		err := json.Unmarshal([]byte(bad), &read)
		if err == nil {
			t.Errorf("%s: was read", name)
			continue
		}
		if !read.Node.IsZero() {
			t.Errorf("%s: left half an identity", name)
		}
	}
}

func TestIdentityIsNotLogged(t *testing.T) {
	identity := NewIdentity()
	data, err := json.Marshal(identity)
	if err != nil {
		t.Fatal(err)
	}
	var file identityFile
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	slog.New(slog.NewTextHandler(&text, nil)).Info("start", slog.Any("identity", identity))
	fmt.Fprintf(&text, "%v %+v %s", identity, identity, identity)
	for _, secret := range []string{file.Disco, identity.Node.UntypedHexString()} {
		if strings.Contains(text.String(), secret) {
			t.Error("a private key was printed")
		}
	}
}

func TestKeepAlive(t *testing.T) {
	now := time.Now()
	ago := func(d time.Duration) int64 { return now.Add(-d).UnixNano() }
	for name, test := range map[string]struct {
		live       bool
		sent, used time.Duration
		want       bool
	}{
		"no session":              {false, time.Minute, time.Minute, false},
		"quiet since a moment":    {true, 20 * time.Second, 20 * time.Second, true},
		"sending by itself":       {true, time.Second, time.Second, false},
		"receiving only":          {true, 20 * time.Second, time.Second, true},
		"out of use":              {true, 20 * time.Second, keepAliveWindow, false},
		"only our own keepalives": {true, keepAliveInterval, time.Hour, false},
	} {
		s := &session{}
		s.live.Store(test.live)
		s.sent.Store(ago(test.sent))
		s.used.Store(ago(test.used))
		if got := s.needsKeepAlive(now); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

// FuzzNode feeds the bytes of a node to the conversion.
func FuzzNode(f *testing.F) {
	id := uuid.New()
	seed, err := proto.Marshal(testNode(id))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		node := &tailnetv2.Node{}
		if proto.Unmarshal(data, node) != nil {
			return
		}
		read, _, err := readNode(node)
		if err != nil {
			return
		}
		converted := newRecord(read).upstream(id, true)
		if converted.ID <= 0 || converted.Key.IsZero() || converted.DiscoKey.IsZero() || converted.HomeDERP == 0 || len(converted.Addresses) == 0 {
			t.Errorf("a node without what upstream needs came through: %+v", converted)
		}
		for _, prefix := range append(converted.Addresses, converted.AllowedIPs...) {
			if !prefix.IsSingleIP() || !prefix.Addr().Is6() {
				t.Errorf("prefix %s came through", prefix)
			}
		}
		for _, endpoint := range converted.Endpoints {
			if !usableEndpoint(endpoint) {
				t.Errorf("endpoint %s came through", endpoint)
			}
		}
	})
}

func TestConfigIsChecked(t *testing.T) {
	for name, config := range map[string]Config{
		"empty":     {},
		"no device": {Logger: slog.New(slog.DiscardHandler), Identity: NewIdentity(), NodeID: 1},
	} {
		if e, err := New(config); err == nil {
			e.Close()
			t.Errorf("%s: an engine started", name)
		}
	}
}

func TestSharedLegacyAddress(t *testing.T) {
	self := selfNode(Config{NodeID: 1, Identity: NewIdentity()})
	d := newDirectory(self.View(), nil)
	first, second := uuid.New(), uuid.New()
	legacy := "fd7a:115c:a1e0:49d6:b259:b7ac:b1b2:48f4/128"
	var keys []key.NodePublic
	for _, id := range []uuid.UUID{first, second} {
		wire := testNode(id)
		wire.AllowedIps = append(wire.AllowedIps, legacy)
		read, _, err := readNode(wire)
		if err != nil {
			t.Fatal(err)
		}
		node := read.toUpstream(id, true)
		d.put(id, newRecord(read), node, nil)
		keys = append(keys, node.Key)
	}
	lengths := func() (int, int) {
		a, _ := d.allowed(keys[0])
		b, _ := d.allowed(keys[1])
		return len(a), len(b)
	}
	if a, b := lengths(); a != 3 || b != 2 {
		t.Errorf("allowed addresses %d and %d, want the shared one with the first peer only", a, b)
	}
	d.drop(first)
	if a, b := lengths(); a != 0 || b != 3 {
		t.Errorf("after the first left: %d and %d", a, b)
	}
}

// TestNotingPacketsAllocatesNothing: it happens for every packet.
func TestNotingPacketsAllocatesNothing(t *testing.T) {
	id := uuid.New()
	read, _, err := readNode(testNode(id))
	if err != nil {
		t.Fatal(err)
	}
	node := read.toUpstream(id, true)
	self := selfNode(Config{NodeID: 1, Identity: NewIdentity()})
	e := &Engine{directory: newDirectory(self.View(), nil), failover: newFailover(slog.New(slog.DiscardHandler), nil)}
	e.directory.put(id, newRecord(read), node, nil)
	from, path := netip.AddrPortFrom(node.Addresses[0].Addr(), 0), netip.MustParseAddrPort("198.51.100.1:1")
	e.packetSeen(0, from, path, 1, 1000, false)
	if got := testing.AllocsPerRun(1000, func() {
		e.packetSeen(0, from, path, 1, 1000, false)
		e.packetSeen(0, from, path, 1, 1000, true)
	}); got != 0 {
		t.Errorf("%v allocations", got)
	}
	if known := e.directory.peer(id).session.path.Load(); known == nil || *known != path {
		t.Errorf("path %v", known)
	}
}
