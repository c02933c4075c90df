package vpnproto

import (
	"bytes"
	"context"
	"encoding/hex"
	"io"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/causewayhq/causeway/proto/vpnv1"
	"github.com/causewayhq/causeway/tunnel"
)

// TestGoldenSession holds whole sessions to bytes that were written by hand from
// the description of the protocol: field by field, none by an encoder.
func TestGoldenSession(t *testing.T) {
	c := up()
	c.ping = func(context.Context, uuid.UUID) (tunnel.PingReply, error) {
		return tunnel.PingReply{}, tunnel.ErrOffline
	}
	one := agent(0x11)
	one.Workspace.Name, one.Names = "ws", []string{"ws.coder"}
	one.LastHandshake = time.Unix(1700000000, 0)
	c.has(true, one)
	m := begin(t, Version{1, 3}, silent, c)

	// What is unknown to us, field 15 with nothing in it, is answered with the rpc alone.
	m.raw("00000006  0a02 0809  7a00")
	m.want("00000004  0a02 1009")

	// Without a URL: rpc{1: 1}, start{3: "t"}.
	m.raw("00000009  0a02 0801  2203 1a01 74")
	m.want("00000019  0a02 1001  2a13 1211 6d697373696e6720636f6465722075726c") // "missing coder url"
	// Without a token: start{2: "u"}.
	m.raw("00000009  0a02 0802  2203 1201 75")
	m.want("00000019  0a02 1002  2a13 1211 6d697373696e672061706920746f6b656e") // "missing api token"

	// Everything that a start request may hold.
	m.raw(`0000002b  0a02 0803  2225
		0803
		1209 68747470733a2f2f61
		1a01 74
		2206 0a01 58 1201 59
		2a01 64
		3205 4c696e7578
		3a01 39`)
	m.want("00000008  0a02 1003  2a02 0801")
	// The update that follows: a workspace and an agent.
	workspace := "0a18 0a10 21212121212121212121212121212121 1202 7773 1803"
	head := "0a10 11111111111111111111111111111111 1204 6d61696e 1a10 21212121212121212121212121212121" +
		"2209 77732e636f6465722e" + // "ws.coder."
		"2a27 666436303a363237613a613432623a313131313a313131313a313131313a313131313a31313131" + // its address as text
		"3206 0880e2cfaa06" // handshake at 1700000000
	// Of 26 and 104 bytes: 130, which is 8201.
	m.want("00000085  1a82 01" + workspace + "1266" + head)

	// Asked for, the same as a reply.
	m.raw("00000006  0a02 0804  1200")
	m.want("00000089  0a02 1004  1a82 01" + workspace + "1266" + head)
	// Wake, and stop.
	m.raw("00000006  0a02 0805  3200")
	m.want("00000006  0a02 1005  3a00")
	m.raw("00000006  0a02 0806  2a00")
	m.want("00000008  0a02 1006  3202 0801")
	if rest := m.bytes(); rest != nil {
		t.Errorf("after the stop's response: %x, want the end", rest)
	}
	if err := m.end(); err != nil {
		t.Error(err)
	}
	for name, want := range map[string]string{"X": "Y", "Coder-Desktop-Telemetry": `{"device_id":"d","device_os":"Linux","coder_desktop_version":"9"}`} {
		if got := c.profile.Headers.Get(name); got != want {
			t.Errorf("header %s: %q, want %q", name, got, want)
		}
	}
	if c.profile.URL.String() != "https://a" || c.profile.Token != "t" || c.start.Device != 3 {
		t.Errorf("profile %v %q, descriptor %d", c.profile.URL, string(c.profile.Token), c.start.Device)
	}
}

func (m *manager) want(text string) {
	m.t.Helper()
	if got, want := m.bytes(), unhex(m.t, text); !bytes.Equal(got, want) {
		m.t.Fatalf("got  %x\nwant %x", got, want)
	}
}

// TestGoldenMessages holds the messages that a session shows only at times to
// bytes written by hand, both ways.
func TestGoldenMessages(t *testing.T) {
	for name, test := range map[string]struct {
		message, empty proto.Message
		bytes          string
	}{
		"log": {&vpnv1.TunnelMessage{Msg: &vpnv1.TunnelMessage_Log{Log: &vpnv1.Log{
			Level: vpnv1.Log_CRITICAL, Message: "m", LoggerNames: []string{"a", "b"}, Fields: []*vpnv1.Log_Field{{Name: "n", Value: "v"}},
		}}}, &vpnv1.TunnelMessage{}, "1213 0804 1201 6d 1a01 61 1a01 62 2206 0a01 6e 1201 76"},
		"last ping": {pingMessage(
			tunnel.PingReply{Latency: 5 * time.Millisecond, Direct: true}, &tunnel.Relay{RegionID: 1, Name: "Home", Latency: time.Millisecond},
		), &vpnv1.LastPing{}, "0a05 10c096b102 1001 1a04 486f6d65 2204 10c0843d"},
		"agent with a ping": {&vpnv1.Agent{LastPing: &vpnv1.LastPing{DidP2P: true}}, &vpnv1.Agent{}, "3a02 1001"},
		"deleted": {&vpnv1.PeerUpdate{
			DeletedWorkspaces: []*vpnv1.Workspace{{Name: "w"}}, DeletedAgents: []*vpnv1.Agent{{Name: "a"}},
		}, &vpnv1.PeerUpdate{}, "1a03 1201 77 2203 1201 61"},
		"network settings": {settings().message(), &vpnv1.NetworkSettingsRequest{},
			"1080 0a" + // an MTU of 1280
				"1a22 0a12 666436303a363237613a613432623a3a3533 1a05 636f646572 2205 636f646572" +
				"322d 0a11 666436303a363237613a613432623a3a31 1202 8001" +
				"1a14 0a10 666436303a363237613a613432623a3a 1030"},
		"response of network settings": {&vpnv1.ManagerMessage{
			Rpc: &vpnv1.RPC{ResponseTo: 300}, Msg: &vpnv1.ManagerMessage_NetworkSettings{NetworkSettings: &vpnv1.NetworkSettingsResponse{ErrorMessage: "e"}},
		}, &vpnv1.ManagerMessage{}, "0a03 10ac02 1a03 1201 65"},
		"status of a service": {&vpnv1.ServiceMessage{Msg: &vpnv1.ServiceMessage_Status{Status: &vpnv1.Status{
			Lifecycle: vpnv1.Status_STARTED, ErrorMessage: "e", PeerUpdate: &vpnv1.PeerUpdate{},
		}}}, &vpnv1.ServiceMessage{}, "2207 0802 1201 65 1a00"},
		"start progress": {&vpnv1.ServiceMessage{Msg: &vpnv1.ServiceMessage_StartProgress{StartProgress: &vpnv1.StartProgress{
			Stage: vpnv1.StartProgressStage_Downloading, DownloadProgress: &vpnv1.StartProgressDownloadProgress{BytesWritten: 1, BytesTotal: proto.Uint64(2)},
		}}}, &vpnv1.ServiceMessage{}, "2a08 0801 1204 0801 1002"},
		"status asked of a service": {&vpnv1.ClientMessage{Msg: &vpnv1.ClientMessage_Status{Status: &vpnv1.StatusRequest{}}}, &vpnv1.ClientMessage{}, "2200"},
	} {
		t.Run(name, func(t *testing.T) {
			want := unhex(t, test.bytes)
			if got, err := proto.Marshal(test.message); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%v: got %s\nwant %s", err, hex.EncodeToString(got), hex.EncodeToString(want))
			}
			if err := proto.Unmarshal(want, test.empty); err != nil || !proto.Equal(test.empty, test.message) {
				t.Errorf("%v: read %v, want %v", err, test.empty, test.message)
			}
		})
	}
}

// TestGoldenHandshake holds the first bytes to the text of the protocol.
func TestGoldenHandshake(t *testing.T) {
	toTunnel, out := io.Pipe()
	in, fromTunnel := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- Serve(t.Context(), toTunnel, fromTunnel, Config{Log: slog.DiscardHandler, Level: silent})
	}()
	hello := make([]byte, 20)
	if _, err := io.ReadFull(in, hello); err != nil || string(hello) != "codervpn tunnel 1.3\n" {
		t.Errorf("%v: %q", err, hello)
	}
	// What follows the header at once is not lost.
	if _, err := out.Write([]byte("codervpn manager 1.0\n\x00\x00\x00\x06\x0a\x02\x08\x01\x2a\x00")); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(in)
	if want := unhex(t, "00000008 0a021001 32020801"); err != nil || !bytes.Equal(rest, want) {
		t.Errorf("%v: %x, want %x", err, rest, want)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// settings are those of a tunnel with the address fd60:627a:a42b::1.
func settings() Network {
	return Network{
		MTU: 1280, Addresses: []netip.Prefix{netip.MustParsePrefix("fd60:627a:a42b::1/128")},
		Routes:      []netip.Prefix{netip.MustParsePrefix("fd60:627a:a42b::/48")},
		Nameservers: []netip.Addr{netip.MustParseAddr("fd60:627a:a42b::53")}, Suffixes: []string{"coder"},
	}
}
