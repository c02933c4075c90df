package userspace_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"tailscale.com/derp/derpserver"

	"github.com/causewayhq/causeway/tailnet/userspace"
)

func echo(conn net.Conn) {
	defer conn.Close()
	_, _ = io.Copy(conn, conn)
}

func TestTCPBetweenTwoNodes(t *testing.T) {
	relays := startRelay(t, nil)
	a, b := newUserspace(t, relays, nil), newUserspace(t, relays, nil)
	introduce(t, a, b)
	b.net.HandleTCP(func(port uint16) (func(net.Conn), bool) { return echo, port == 7 })

	for _, to := range []netip.Addr{b.tailscale(), b.service()} {
		conn := dialTCP(t, a, netip.AddrPortFrom(to, 7))
		sent := bytes.Repeat([]byte("causeway"), 1<<17)
		go func() {
			_, _ = conn.Write(sent)
		}()
		got := make([]byte, len(sent))
		if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, got); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, sent) {
			t.Fatal("echo differs")
		}
	}
	eventually(t, "direct path", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		result, err := a.engine.Ping(ctx, b.service())
		return err == nil && result.Direct
	})
	status, found := a.engine.Peer(b.id)
	if !found || status.LastHandshake.IsZero() || status.RxBytes == 0 || status.TxBytes == 0 || !status.Active || status.Lost {
		t.Errorf("status %+v, found %v", status, found)
	}
	if home, _ := a.engine.Home(); home != regionID {
		t.Errorf("home %d", home)
	}
}

func TestRelayedOnly(t *testing.T) {
	tests := map[string]struct {
		wrap   func(*derpserver.Server, http.Handler) http.Handler
		adjust func(*userspace.Config)
	}{
		"raw upgrade": {},
		"websocket after 426": {wrap: func(server *derpserver.Server, _ http.Handler) http.Handler {
			return derpserver.AddWebSocketSupport(server, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				http.Error(w, "no", http.StatusUpgradeRequired)
			}))
		}},
		"websocket forced": {
			wrap: func(s *derpserver.Server, raw http.Handler) http.Handler {
				return derpserver.AddWebSocketSupport(s, raw)
			},
			adjust: func(c *userspace.Config) { c.ForceWebsocket = true },
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			relays := startRelay(t, test.wrap)
			adjust := func(config *userspace.Config) {
				config.DirectDisabled = true
				if test.adjust != nil {
					test.adjust(config)
				}
			}
			a, b := newUserspace(t, relays, adjust), newUserspace(t, relays, adjust)
			introduce(t, a, b)
			b.net.HandleTCP(func(port uint16) (func(net.Conn), bool) { return echo, port == 7 })
			conn := dialTCP(t, a, netip.AddrPortFrom(b.service(), 7))
			if _, err := conn.Write([]byte("hello")); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, 5)
			if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(conn, got); err != nil || string(got) != "hello" {
				t.Fatalf("read %q: %v", got, err)
			}
			status, found := a.engine.Peer(b.id)
			if !found || status.Direct || status.RelayRegion != regionID {
				t.Errorf("status %+v, found %v", status, found)
			}
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			if result, err := a.engine.Ping(ctx, b.service()); err != nil || result.Direct || result.RelayRegion != regionID {
				t.Errorf("ping %+v: %v", result, err)
			}
		})
	}
}
