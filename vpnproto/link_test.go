package vpnproto

import (
	"io"
	"log/slog"
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
