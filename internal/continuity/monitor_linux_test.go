package continuity

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/causewayhq/causeway/internal/rig"
)

// event is what the load tells (internal/probe's Event).
type event struct {
	At        int64   `json:"at"`
	Kind      string  `json:"kind"`
	Of        string  `json:"of"`
	Seconds   float64 `json:"seconds"`
	Detail    string  `json:"detail"`
	Connected bool    `json:"connected"`
	Micros    []int64 `json:"us"`
	Refused   int     `json:"refused"`
	Open      int     `json:"open"`
	Silence   int64   `json:"silence"`
}

func (e event) time() time.Time { return time.Unix(0, e.At) }

func (e event) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s %s %s %.2f s %s", e.time().UTC().Format("15:04:05.000"), e.Kind, e.Of, e.Seconds, e.Detail))
}

// monitor reads what a load tells.
type monitor struct {
	program *rig.Program
	stdin   io.Closer
	streams int

	mu     sync.Mutex
	events []event

	stop    chan struct{}
	reading sync.WaitGroup
}

func follow(program *rig.Program, stdin io.Closer, streams int) *monitor {
	m := &monitor{program: program, stdin: stdin, streams: streams, stop: make(chan struct{})}
	m.reading.Go(m.read)
	return m
}

// close ends the load: with its input.
func (m *monitor) close() {
	m.stdin.Close()
	select {
	case <-m.program.Done():
	case <-time.After(10 * time.Second):
		m.program.Kill()
	}
	close(m.stop)
	m.reading.Wait()
}

// read follows the growing file.
func (m *monitor) read() {
	file, err := os.Open(m.program.LogFile)
	if err != nil {
		return // healthy will miss its ticks
	}
	defer file.Close()
	lines, rest := bufio.NewReader(file), ""
	for {
		part, err := lines.ReadString('\n')
		rest += part
		if err == nil {
			var e event
			if json.Unmarshal([]byte(rest), &e) == nil {
				m.mu.Lock()
				m.events = append(m.events, e)
				m.mu.Unlock()
			}
			rest = ""
			continue
		}
		select {
		case <-m.stop:
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// since are the events after a moment.
func (m *monitor) since(from time.Time) []event {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, _ := slices.BinarySearchFunc(m.events, from.UnixNano(), func(e event, at int64) int {
		if e.At < at {
			return -1
		}
		return 1
	})
	return slices.Clone(m.events[at:])
}

// first finds the first event after a moment that matches.
func (m *monitor) first(from time.Time, match func(event) bool) (event, bool) {
	events := m.since(from)
	if at := slices.IndexFunc(events, match); at >= 0 {
		return events[at], true
	}
	return event{}, false
}

// control is the event from which on the control connection has been as it is.
func (m *monitor) control() event {
	m.mu.Lock()
	defer m.mu.Unlock()
	var found event
	for _, e := range slices.Backward(m.events) {
		if e.Kind != "control" {
			continue
		}
		if found.At != 0 && e.Connected != found.Connected {
			break
		}
		found = e
	}
	return found
}

// quietTicks is how many quarters of a second must be good in a row.
const quietTicks = 4

// wellSince says from when on all has been well, looking no further back than
// from; or what is not well now.
func (m *monitor) wellSince(from time.Time) (time.Time, error) {
	control := m.control()
	if !control.Connected {
		return from, fmt.Errorf("control plane not connected: %v", control)
	}
	at := from
	later := func(e event) {
		if e.time().After(at) {
			at = e.time()
		}
	}
	later(control)
	ticks := 0
	var last event
	for _, e := range m.since(from) {
		switch e.Kind {
		case "tick":
			ticks, last = ticks+1, e
			if e.Open < m.streams || e.Silence >= 1000 || len(e.Micros) == 0 {
				ticks = 0
				later(e)
			}
		case "slow", "failed", "wrong", "stall", "broken", "open", "trouble", "frozen":
			later(e)
		}
	}
	switch {
	case time.Since(last.time()) > time.Second:
		return at, fmt.Errorf("the load is silent: %s", ending(m.program.Log()))
	case ticks < quietTicks:
		return at, fmt.Errorf("%d of %d flows open, longest silence %d ms, %d lookups in the last quarter of a second", last.Open, m.streams, last.Silence, len(last.Micros))
	}
	return at, nil
}

func ending(text string) string { return text[max(0, len(text)-500):] }

// healthy waits until all has been well from some moment on until now, and
// settle has passed since from: what breaks is noticed only some time later.
// It returns that moment.
func (m *monitor) healthy(ctx context.Context, from time.Time, settle time.Duration) (time.Time, error) {
	var at time.Time
	err := rig.Eventually(ctx, func() error {
		var err error
		if at, err = m.wellSince(from); err != nil {
			return err
		}
		if wait := settle - time.Since(from); wait > 0 {
			return fmt.Errorf("%v to wait, in case that something is noticed late", wait)
		}
		return nil
	})
	return at, err
}

// cost is what became of the load between two moments.
type cost struct {
	right, slow, failed, wrong, refused int
	p99                                 time.Duration
	broken                              int
	stall                               time.Duration // the longest
	stallOf                             string
	frozen                              time.Duration
	told                                []string // everything that is not as it should be
}

func (c cost) String() string {
	return fmt.Sprintf("%d lookups, %d failed, %d wrong, %d slow, p99 %s; flows broken %d, longest silence %.2f s",
		c.right+c.failed+c.wrong, c.failed, c.wrong, c.slow, milliseconds(c.p99), c.broken, c.stall.Seconds())
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
}

// cost adds up what the load told from a moment on.
func (m *monitor) cost(from time.Time) cost {
	var c cost
	var micros []int64
	for _, e := range m.since(from) {
		seconds := time.Duration(e.Seconds * float64(time.Second))
		switch e.Kind {
		case "tick":
			micros = append(micros, e.Micros...)
			c.refused += e.Refused
			if silence := time.Duration(e.Silence) * time.Millisecond; silence > c.stall {
				c.stall = silence
			}
			continue
		case "slow":
			c.slow++
		case "failed":
			c.failed++
		case "wrong":
			c.wrong++
		case "broken":
			c.broken++
		case "stall":
			if seconds > c.stall {
				c.stall, c.stallOf = seconds, e.Of
			}
		case "frozen":
			c.frozen += seconds
		}
		c.told = append(c.told, e.String())
	}
	c.right = len(micros)
	slices.Sort(micros)
	if len(micros) > 0 {
		c.p99 = time.Duration(micros[len(micros)*99/100]) * time.Microsecond
	}
	return c
}
