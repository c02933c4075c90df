package vpnproto

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causewayhq/causeway/tunnel"
)

// TestHangUp: the manager is gone without a word, or broke the protocol; the
// tunnel ends with it.
func TestHangUp(t *testing.T) {
	for name, test := range map[string]struct {
		bytes string
		is    error
	}{
		"between messages": {"", ErrHungUp},
		"in a message":     {"00000006 0a02", ErrHungUp},
		"too long":         {"01000001", ErrTooLong},
		"no protobuf":      {"00000003 ffffff", nil},
	} {
		t.Run(name, func(t *testing.T) {
			c := up()
			m := begin(t, Version{1, 3}, silent, c)
			m.start()
			m.raw(test.bytes)
			if errors.Is(test.is, ErrHungUp) {
				m.out.Close()
			}
			rest, err := io.ReadAll(m.in)
			ended := m.end()
			if len(rest) != 0 || err != nil || ended == nil || test.is != nil && !errors.Is(ended, test.is) || c.isRunning() {
				t.Errorf("%x %v, ended with %v, running %v", rest, err, ended, c.isRunning())
			}
			if errors.Is(test.is, ErrHungUp) && !errors.Is(ended, io.ErrUnexpectedEOF) {
				t.Errorf("ended with %v, want an unexpected EOF", ended)
			}
		})
	}
}

// TestDeafManager reads nothing more: neither log records nor updates nor a stop
// wait for it for ever.
func TestDeafManager(t *testing.T) {
	for name, over := range map[string]func(*manager, context.CancelFunc){
		"stop":   func(m *manager, _ context.CancelFunc) { m.say(stopMessage0()) },
		"signal": func(_ *manager, cancel context.CancelFunc) { cancel() },
		"gone":   func(m *manager, _ context.CancelFunc) { m.out.Close(); m.in.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				toTunnel, out := io.Pipe()
				in, fromTunnel := io.Pipe()
				m := &manager{t: t, in: in, out: out}
				c := up()
				c.has(true, agent(1))
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() {
					ended <- serve(ctx, toTunnel, fromTunnel, Version{1, 3}, Config{
						Log: slog.DiscardHandler, Level: slog.LevelDebug,
						New: func(_ tunnel.Profile, start Start) (Core, error) { c.start = start; return c, nil },
					})
				}()
				m.say(startMessage("https://coder.example", "t"))
				synctest.Wait()
				began := time.Now()
				for range 3 * logsWaiting {
					c.start.Logger.Info("a record")
				}
				c.has(false, agent(1), agent(2))
				time.Sleep(12 * time.Second) // two rounds
				if took := time.Since(began); took != 12*time.Second {
					t.Errorf("logging waited: %v", took)
				}
				over(m, cancel)
				began = time.Now()
				<-ended
				if took := time.Since(began); took > flushLimit || c.isRunning() {
					t.Errorf("the end took %v, running %v", took, c.isRunning())
				}
				c.start.Logger.Info("a late record") // dropped, and no panic
				cancel()
				out.Close()
				in.Close()
			})
		})
	}
}

// TestRepliesAreNotRead: beyond a bound no further request is taken in, and the
// end is an end all the same.
func TestRepliesAreNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := begin(t, Version{1, 3}, silent)
		taken := make(chan int, 1)
		go func() {
			var count int
			for range 10 * repliesWaiting {
				if _, err := m.out.Write(unhex(t, "00000006 0a02 0801 1200")); err != nil {
					break
				}
				count++
			}
			taken <- count
		}()
		synctest.Wait()
		m.in.Close()
		m.out.Close()
		if err := <-m.ended; err == nil {
			t.Error("no error")
		}
		if got := <-taken; got > 2*repliesWaiting {
			t.Errorf("%d requests taken in, though no reply was read", got)
		}
	})
}

// TestStopWithoutRoom: a start that is answered when no more replies find room does
// not hold up the end.
func TestStopWithoutRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := up()
		c.status = tunnel.Status{State: tunnel.Starting}
		m := begin(t, Version{1, 3}, silent, c)
		m.say(startMessage("https://coder.example", "t"))
		for range repliesWaiting + 1 { // one of them is being written
			m.say(peersMessage())
			synctest.Wait()
		}
		began := time.Now()
		m.say(stopMessage0())
		err := <-m.ended
		if took := time.Since(began); !errors.Is(err, ErrHungUp) || took != flushLimit || c.isRunning() {
			t.Errorf("the end took %v with %v, running %v", took, err, c.isRunning())
		}
	})
}

// TestInterrupted is a signal: the tunnel ends, the stream too, and it is no error.
func TestInterrupted(t *testing.T) {
	toTunnel, out := io.Pipe()
	in, fromTunnel := io.Pipe()
	c := up()
	ctx, cancel := context.WithCancel(t.Context())
	m := &manager{t: t, in: in, out: out, ended: make(chan error, 1)}
	go func() {
		m.ended <- serve(ctx, toTunnel, fromTunnel, Version{1, 3}, Config{
			Log: slog.DiscardHandler, Level: silent, New: func(tunnel.Profile, Start) (Core, error) { return c, nil },
		})
	}()
	m.start()
	cancel()
	if rest, err := io.ReadAll(in); len(rest) != 0 || err != nil {
		t.Errorf("%x %v", rest, err)
	}
	if err := m.end(); err != nil || c.isRunning() {
		t.Errorf("%v, running %v", err, c.isRunning())
	}
	out.Close()
}
