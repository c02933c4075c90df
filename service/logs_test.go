package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/causewayhq/causeway/client"
	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

// nowhere takes a log and forgets it; slog's own handler for that takes none.
type nowhere struct{}

func (nowhere) Write(text []byte) (int, error) { return len(text), nil }

// kept are the entries as lines.
func kept(logs *Logs) []string {
	var lines []string
	batch := make([]logEntry, 0, maxLogEntries)
	found, _, _ := logs.read(0, batch)
	for _, entry := range found {
		line := levelWord(entry.level) + " " + entry.message
		for _, field := range entry.fields {
			line += " " + field.name + "=" + field.value
		}
		lines = append(lines, line)
	}
	return lines
}

// TestLogsKeep: what is kept is what the other handler writes, and no more.
func TestLogsKeep(t *testing.T) {
	var text strings.Builder
	logs := NewLogs()
	logger := slog.New(logs.Tee(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelInfo})))
	logger.Debug("not logged")
	logger.With(slog.String("a", "1")).WithGroup("g").With(slog.Int("b", 2)).Info("first", slog.Group("h", slog.Bool("c", true)), slog.Attr{})
	logger.Error("second", slog.Any("error", errors.New("it broke")), slog.Any("token", client.Token("very-secret")), slog.Any("headers", Headers{"X": {"very-secret"}}))
	logger.Warn("long", slog.String("v", strings.Repeat("x", maxLogText+1)))
	got := kept(logs)
	want := []string{
		"info first a=1 g.b=2 g.h.c=true",
		"error second error=it broke token=[redacted] headers=X=[redacted]",
		"warn long v=" + strings.Repeat("x", maxLogText) + "...",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("kept\n%q\nwant\n%q", got, want)
	}
	if lines := strings.Count(text.String(), "\n"); lines != 3 {
		t.Errorf("the other handler wrote %d lines, want 3", lines)
	}
	if strings.Contains(fmt.Sprint(got), "very-secret") {
		t.Error("a secret is kept")
	}
}

// TestLogsAreBounded: by number and by size, and what goes is the oldest.
func TestLogsAreBounded(t *testing.T) {
	logs := NewLogs()
	logger := slog.New(logs.Tee(slog.NewTextHandler(nowhere{}, nil)))
	for i := range maxLogEntries + 10 {
		logger.Info(fmt.Sprint(i))
	}
	lines := kept(logs)
	if len(lines) != maxLogEntries || lines[0] != "info 10" || logs.oldest() != 10 {
		t.Errorf("%d entries from %q, oldest %d", len(lines), lines[0], logs.oldest())
	}
	for range maxLogEntries {
		logger.Info("x", slog.String("v", strings.Repeat("y", maxLogText)))
	}
	if lines = kept(logs); logs.bytes > maxLogBytes || len(lines) < maxLogBytes/maxLogText/2 || len(lines) > maxLogBytes/maxLogText {
		t.Errorf("%d entries of %d bytes, want at most %d bytes", len(lines), logs.bytes, maxLogBytes)
	}
	size := 0
	for _, entry := range logs.entries {
		size += entry.size
	}
	if size != logs.bytes {
		t.Errorf("%d bytes are kept, %d are counted", size, logs.bytes)
	}
}

// TestLogsManyWriters is for the race detector, and counts.
func TestLogsManyWriters(t *testing.T) {
	logs := NewLogs()
	logger := slog.New(logs.Tee(slog.NewTextHandler(nowhere{}, nil)))
	var writing sync.WaitGroup
	for range 8 {
		writing.Go(func() {
			for i := range 500 {
				logger.Info("x", slog.Int("i", i))
			}
		})
	}
	writing.Wait()
	if logs.next != 4000 || logs.next-logs.first != maxLogEntries {
		t.Errorf("%d to %d are kept", logs.first, logs.next)
	}
}

// withLogs has the service of a rig keep its log.
func (r *rig) withLogs() *slog.Logger {
	r.config.Logs = NewLogs()
	r.config.Logger = slog.New(r.config.Logs.Tee(slog.NewTextHandler(nowhere{}, &slog.HandlerOptions{Level: slog.LevelDebug})))
	return r.config.Logger
}

// received reads a stream that ends.
func received(t *testing.T, call *localapi.Client, in *localv1.WatchLogsRequest) []*localv1.LogEntry {
	t.Helper()
	stream, err := call.WatchLogs(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	var all []*localv1.LogEntry
	for {
		entry, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, entry)
	}
}

func TestWatchLogs(t *testing.T) {
	r := newRig(t)
	logger := r.withLogs()
	_, call, _ := r.start(t)
	logger.Debug("one", slog.String("bad", "\xff"))
	middle := time.Now()
	logger.Warn("two", slog.Int("n", 2))
	messages := func(in *localv1.WatchLogsRequest) string {
		var text []string
		for _, entry := range received(t, call, in) {
			if entry.GetMessage() == "local API call failed" { // of a dial that asked nothing
				continue
			}
			text = append(text, entry.GetLevel()+" "+entry.GetMessage())
		}
		return strings.Join(text, ", ")
	}
	if got := messages(&localv1.WatchLogsRequest{Level: "debug"}); !strings.Contains(got, "info daemon started") || !strings.HasSuffix(got, "debug one, warn two") {
		t.Errorf("all: %s", got)
	}
	if got := messages(&localv1.WatchLogsRequest{}); strings.Contains(got, "one") || !strings.Contains(got, "daemon started") {
		t.Errorf("from info on: %s", got)
	}
	if got := messages(&localv1.WatchLogsRequest{Level: "debug", Since: timestamppb.New(middle)}); got != "warn two" {
		t.Errorf("since: %s", got)
	}
	stream, err := call.WatchLogs(t.Context(), &localv1.WatchLogsRequest{Level: "loud"})
	if err == nil {
		_, err = stream.Recv()
	}
	var known *localapi.Error
	if !errors.As(err, &known) || known.Code != localapi.CodeUsage || !strings.Contains(known.Cause, "debug, info, warn, error") {
		t.Errorf("level loud: %v", err)
	}
}

func TestWatchLogsFollows(t *testing.T) {
	r := newRig(t)
	logger := r.withLogs()
	_, call, _ := r.start(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := call.WatchLogs(ctx, &localv1.WatchLogsRequest{Follow: true, Level: "warn"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		logger.Warn(fmt.Sprint(i))
		entry, err := stream.Recv()
		if err != nil || entry.GetMessage() != fmt.Sprint(i) || entry.GetDropped() != 0 {
			t.Fatalf("%v, %v, want %d", entry, err, i)
		}
	}
}

// slowStream is a watcher that does not read until it is let.
type slowStream struct {
	localv1.DRPCLocal_WatchLogsStream
	ctx  context.Context
	gate chan struct{}
	sent chan *localv1.LogEntry
}

func (s *slowStream) Context() context.Context { return s.ctx }

func (s *slowStream) Send(entry *localv1.LogEntry) error {
	select {
	case <-s.gate:
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
	s.sent <- entry
	return nil
}

// TestSlowWatcher: the log goes on, and the watcher is told what it missed.
func TestSlowWatcher(t *testing.T) {
	r := newRig(t)
	logger := r.withLogs()
	s := New(r.config)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream := &slowStream{ctx: ctx, gate: make(chan struct{}), sent: make(chan *localv1.LogEntry, 3*maxLogEntries)}
	ended := make(chan error, 1)
	logger.Info("0")
	go func() { ended <- s.WatchLogs(&localv1.WatchLogsRequest{Follow: true}, stream) }()
	const more = 2*maxLogEntries + 5
	for i := range more {
		logger.Info(fmt.Sprint(i + 1))
	}
	close(stream.gate)
	total, dropped, last := uint64(0), uint64(0), ""
	for last != fmt.Sprint(more) {
		entry := <-stream.sent
		total, dropped, last = total+1, dropped+entry.GetDropped(), entry.GetMessage()
	}
	if total+dropped != more+1 || dropped == 0 {
		t.Errorf("%d came and %d are said to be lost, of %d", total, dropped, more+1)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("WatchLogs() = %v", err)
	}
}

// TestLogsOfAnother: what was logged while somebody else had the tunnel stays
// theirs, and a watch ends when the tunnel is another's.
func TestLogsOfAnother(t *testing.T) {
	r := newRig(t)
	logger := r.withLogs()
	s, _, _ := r.start(t)
	root := localapi.WithCaller(t.Context(), localapi.Caller{UID: 0})
	alice := localapi.WithCaller(t.Context(), localapi.Caller{UID: 4321})
	logger.Info("before")
	s.mu.Lock()
	s.heldSince = time.Now()
	s.mu.Unlock()
	logger.Info("since")
	read := func(ctx context.Context) string {
		stream := &slowStream{ctx: ctx, gate: make(chan struct{}), sent: make(chan *localv1.LogEntry, maxLogEntries)}
		close(stream.gate)
		if err := s.WatchLogs(&localv1.WatchLogsRequest{}, stream); err != nil {
			return err.Error()
		}
		close(stream.sent)
		text := ""
		for entry := range stream.sent {
			text += entry.GetMessage() + ", "
		}
		return text
	}
	if got := read(root); !strings.Contains(got, "before, since") {
		t.Errorf("root reads %q", got)
	}
	if got := read(alice); !strings.Contains(got, "no operator") {
		t.Errorf("who is no operator reads %q", got)
	}
	if _, err := s.change(func(next *state) error { next.allow(localapi.User{UID: 4321}); return nil }); err != nil {
		t.Fatal(err)
	}
	if got := read(alice); strings.Contains(got, "before") || !strings.Contains(got, "since") {
		t.Errorf("the next one reads %q", got)
	}
	for ctx, all := range map[context.Context]bool{root: true, alice: false} {
		lines, err := s.loggedLines(ctx)
		if err != nil || strings.Contains(string(lines), `"before"`) != all || !strings.Contains(string(lines), `"since"`) {
			t.Errorf("in a bundle, all %v: %s, %v", all, lines, err)
		}
	}
}

// BenchmarkLogs is what keeping costs beside writing.
func BenchmarkLogs(b *testing.B) {
	for name, handler := range map[string]func(slog.Handler) slog.Handler{
		"without": func(h slog.Handler) slog.Handler { return h }, "with": NewLogs().Tee,
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			logger := slog.New(handler(slog.NewTextHandler(nowhere{}, nil)))
			for b.Loop() {
				logger.Info("peer answered", slog.String("agent", "main.myws"), slog.Duration("latency", time.Millisecond))
			}
		})
	}
}
