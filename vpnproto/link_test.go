package vpnproto

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/causewayhq/causeway/proto/vpnv1"
)

// TestFlush: what was accepted goes out before the last message, records too.
func TestFlush(t *testing.T) {
	in, fromTunnel := io.Pipe()
	toTunnel, _ := io.Pipe()
	l := newLink(toTunnel, fromTunnel)
	l.record(&vpnv1.Log{})
	l.last <- &vpnv1.TunnelMessage{Rpc: &vpnv1.RPC{ResponseTo: 9}}
	got := make(chan []byte, 1)
	go func() { all, _ := io.ReadAll(in); got <- all }()
	l.flushNow(slog.New(slog.DiscardHandler))
	if all := <-got; string(all) != "\x00\x00\x00\x02\x12\x00\x00\x00\x00\x04\x0a\x02\x10\x09" {
		t.Errorf("%x", all)
	}
}

// flushNow writes as the writer does when it comes to the last message first.
func (l *link) flushNow(log *slog.Logger) {
	l.log = log
	l.end(l.flush(<-l.last))
}

// TestOneAnswer: a second answer to the same request blocks nobody.
func TestOneAnswer(t *testing.T) {
	l := newLink(io.NopCloser(nil), nil)
	l.waiters[5] = make(chan *vpnv1.ManagerMessage, 1)
	answer := &vpnv1.ManagerMessage{Rpc: &vpnv1.RPC{ResponseTo: 5}}
	l.answered(answer)
	l.answered(answer)
	if len(l.waiters) != 0 {
		t.Error("still waited for")
	}
}

// TestAskCancelled: who gives up is no longer waited for.
func TestAskCancelled(t *testing.T) {
	toTunnel, out := io.Pipe()
	in, fromTunnel := io.Pipe()
	l := newLink(toTunnel, fromTunnel)
	l.start(slog.New(slog.DiscardHandler))
	m := &manager{t: t, in: in, out: out}
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() {
		_, err := l.ask(ctx, &vpnv1.TunnelMessage{})
		result <- err
	}()
	m.want("00000004 0a02 0801")
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) || len(l.waiters) != 0 {
		t.Errorf("%v, %d wait", err, len(l.waiters))
	}
	l.answered(&vpnv1.ManagerMessage{Rpc: &vpnv1.RPC{ResponseTo: 1}}) // too late
	if err := l.close(nil); err != nil {
		t.Error(err)
	}
	for name, err := range map[string]error{
		"ask":   func() error { _, err := l.ask(t.Context(), &vpnv1.TunnelMessage{}); return err }(),
		"push":  l.push(t.Context(), &vpnv1.TunnelMessage{}),
		"reply": l.reply(t.Context(), &vpnv1.RPC{MsgId: 1}, &vpnv1.TunnelMessage{}),
	} {
		if err == nil {
			t.Errorf("%s after the end: no error", name)
		}
	}
	if err := l.close(nil); err != nil {
		t.Errorf("a second close: %v", err)
	}
}

// TestTooLongToSend: an update that is too long is left out, a reply becomes an
// empty one.
func TestTooLongToSend(t *testing.T) {
	toTunnel, _ := io.Pipe()
	in, fromTunnel := io.Pipe()
	l := newLink(toTunnel, fromTunnel)
	l.start(slog.New(slog.DiscardHandler))
	m := &manager{t: t, in: in}
	huge := func() *vpnv1.TunnelMessage {
		return &vpnv1.TunnelMessage{Msg: &vpnv1.TunnelMessage_Log{Log: &vpnv1.Log{Message: strings.Repeat("m", MaxMessage)}}}
	}
	go func() {
		_ = l.push(t.Context(), huge())
		_ = l.reply(t.Context(), &vpnv1.RPC{MsgId: 5}, huge())
	}()
	m.want("00000004 0a02 1005")
	l.end(errEnded)
}
