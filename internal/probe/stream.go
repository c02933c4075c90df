package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

const (
	recordEvery = 100 * time.Millisecond
	recordSize  = 64
	// again is the wait before a stream that broke is opened anew.
	again = 500 * time.Millisecond
)

// stream is a flow or the session: something is to arrive each 100 ms.
type stream struct {
	name string
	// Guarded by the load's mutex.
	open bool
	last time.Duration // when something arrived, by the load's clock
}

// stream runs one until it breaks, tells of that, and opens another.
func (l *loading) stream(name string, run func(*stream) error) {
	s := &stream{name: name}
	l.streams = append(l.streams, s)
	l.tasks.Go(func() {
		for !l.ended() {
			err := run(s)
			l.mu.Lock()
			was := s.open
			s.open = false
			l.mu.Unlock()
			if l.ended() {
				return
			}
			kind := "trouble" // it had never worked
			if was {
				kind = "broken"
			}
			l.tell(Event{Kind: kind, Of: name, Detail: err.Error()})
			select {
			case <-l.stop:
			case <-time.After(again):
			}
		}
	})
}

// arrived notes that something came.
func (l *loading) arrived(s *stream) {
	now := l.clock.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !s.open {
		s.open, s.last = true, now
		l.tellLocked(Event{Kind: "open", Of: s.name})
		return
	}
	if gap := now - s.last; gap > stallLimit {
		l.tellLocked(Event{Kind: "stall", Of: s.name, Seconds: gap.Seconds()})
	}
	s.last = now
}

// flow sends numbered records and wants each of them back, in order and whole.
func (l *loading) flow(ctx context.Context, s *stream, number uint64) error {
	conn, err := (&net.Dialer{Timeout: lookupLimit}).DialContext(ctx, "tcp", l.order.Echo)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	failed := make(chan error, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		failed <- send(ctx, conn, number)
	}()
	err = l.receive(conn, s, number)
	conn.Close()
	<-done
	if sent := <-failed; sent != nil && errors.Is(err, net.ErrClosed) {
		err = sent
	}
	return err
}

func send(ctx context.Context, conn net.Conn, number uint64) error {
	ticker := time.NewTicker(recordEvery)
	defer ticker.Stop()
	for count := uint64(1); ; count++ {
		if _, err := conn.Write(record(number, count)); err != nil {
			conn.Close()
			return fmt.Errorf("send record %d: %w", count, err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (l *loading) receive(conn net.Conn, s *stream, number uint64) error {
	got := make([]byte, recordSize)
	for count := uint64(1); ; count++ {
		if _, err := io.ReadFull(conn, got); err != nil {
			return fmt.Errorf("record %d: %w", count, err)
		}
		if !bytes.Equal(got, record(number, count)) {
			return fmt.Errorf("record %d of flow %d came back as %x", count, number, got[:16])
		}
		l.arrived(s)
	}
}

// record fills itself with its own number, so that nothing can be lost,
// repeated or mixed up unseen.
func record(flow, count uint64) []byte {
	data := make([]byte, recordSize)
	binary.BigEndian.PutUint64(data, flow)
	for at := 8; at < recordSize; at += 8 {
		count = count*0x9e3779b97f4a7c15 + flow
		binary.BigEndian.PutUint64(data[at:], count)
	}
	return data
}

// session runs a command that counts.
func (l *loading) session(ctx context.Context, s *stream) error {
	cmd := exec.CommandContext(ctx, l.order.Session[0], l.order.Session[1:]...)
	var complaint strings.Builder
	cmd.Stderr = &complaint
	output, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() {
		cmd.Process.Kill()
		_ = cmd.Wait() // killed, or its output has told
	}()
	lines := bufio.NewScanner(output)
	for count := 1; lines.Scan(); count++ {
		if got, err := strconv.Atoi(lines.Text()); err != nil || got != count {
			return fmt.Errorf("line %q, want %d", lines.Text(), count)
		}
		l.arrived(s)
	}
	return fmt.Errorf("the session ended: %s", strings.TrimSpace(complaint.String()))
}

// watch tells of each change of the control connection, and of the daemon's
// state.
func (l *loading) watch(ctx context.Context) {
	said := ""
	for ctx.Err() == nil {
		cmd := exec.CommandContext(ctx, l.order.Status[0], l.order.Status[1:]...)
		output, err := cmd.StdoutPipe()
		if err != nil || cmd.Start() != nil {
			return
		}
		lines := bufio.NewScanner(output)
		lines.Buffer(nil, 16<<20)
		for lines.Scan() {
			var status struct {
				State            string `json:"state"`
				ControlConnected bool   `json:"control_connected"`
				Problems         []struct{ Code, Cause string }
			}
			if json.Unmarshal(lines.Bytes(), &status) != nil {
				continue
			}
			event := Event{Kind: "control", Of: status.State, Connected: status.ControlConnected}
			for _, problem := range status.Problems {
				event.Detail += problem.Code + ": " + problem.Cause + "; "
			}
			if now := fmt.Sprint(event); now != said {
				said = now
				l.tell(event)
			}
		}
		_ = cmd.Wait() // there may be no daemon just now
		select {
		case <-ctx.Done():
		case <-time.After(again):
		}
	}
}
