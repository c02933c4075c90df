package httpapi

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// TestRingKeepsTheLastLines: what is kept stays below 10 MB, and begins and ends
// with whole lines.
func TestRingKeepsTheLastLines(t *testing.T) {
	var ring Ring
	const lines, length = 300_000, 100
	for number := range lines {
		fmt.Fprintf(&ring, "%0*d\n", length-1, number)
		if number%1000 == 0 && (ring.size > keptLog || len(ring.chunks) > keptLog/chunkSize+2) {
			t.Fatalf("%d bytes in %d chunks", ring.size, len(ring.chunks))
		}
	}
	var got bytes.Buffer
	count, err := ring.WriteTo(&got)
	if err != nil || int(count) != got.Len() || got.Len() > keptLog || got.Len() < keptLog-chunkSize || got.Len()%length != 0 {
		t.Fatalf("%d bytes, %v", got.Len(), err)
	}
	number := lines - got.Len()/length
	for line := range strings.Lines(got.String()) {
		if want := fmt.Sprintf("%0*d\n", length-1, number); line != want {
			t.Fatalf("line %q, want %q", line, want)
		}
		number++
	}
	if ring.count() != lines {
		t.Errorf("counted %d", ring.count())
	}
}

func TestRingCutsLongLines(t *testing.T) {
	var ring Ring
	long := strings.Repeat("x", 1<<20) + "\n"
	if count, err := ring.Write([]byte(long)); err != nil || count != len(long) {
		t.Errorf("wrote %d, %v", count, err)
	}
	ring.Write([]byte("short\n"))
	var got bytes.Buffer
	ring.WriteTo(&got)
	if want := strings.Repeat("x", chunkSize-1) + "\nshort\n"; got.String() != want {
		t.Errorf("%d bytes, want %d", got.Len(), len(want))
	}
}

// TestReadersSeeOneMoment: what is written meanwhile changes nothing of it.
func TestReadersSeeOneMoment(t *testing.T) {
	var ring Ring
	ring.Write([]byte("one\n"))
	written := make(chan struct{})
	reader := writerFunc(func(line []byte) (int, error) {
		go func() {
			defer close(written)
			for range 100 {
				ring.Write([]byte("two\n"))
			}
		}()
		<-written // the lock is not held
		if string(line) != "one\n" {
			t.Errorf("got %q", line)
		}
		return len(line), nil
	})
	if _, err := ring.WriteTo(reader); err != nil {
		t.Error(err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// TestTee: both get what they want, with attributes and groups.
func TestTee(t *testing.T) {
	var ring Ring
	var next bytes.Buffer
	log := slog.New(ring.Handler(slog.NewTextHandler(&next, &slog.HandlerOptions{Level: slog.LevelWarn}), slog.LevelInfo))
	log = log.With(slog.String("part", "x")).WithGroup("g")
	log.Debug("d", slog.Int("n", 1))
	log.Info("i", slog.Int("n", 2))
	log.Warn("w", slog.Int("n", 3))
	var kept bytes.Buffer
	ring.WriteTo(&kept)
	if got := kept.String(); strings.Count(got, "\n") != 2 || !strings.Contains(got, "msg=i part=x g.n=2\n") || !strings.Contains(got, "msg=w part=x g.n=3\n") {
		t.Errorf("kept %q", got)
	}
	if got := next.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "msg=w part=x g.n=3\n") {
		t.Errorf("passed on %q", got)
	}
}
