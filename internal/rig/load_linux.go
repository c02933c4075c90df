package rig

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
)

// Event is what the load tells (internal/probe's Event).
type Event struct {
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
	Gap       int64   `json:"gap"`
	PublicGap int64   `json:"public_gap"`
	CanaryGap int64   `json:"canary_gap"`
}

func (e Event) Time() time.Time { return time.Unix(0, e.At) }

func (e Event) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s %s %s %.2f s %s", e.Time().UTC().Format("15:04:05.000"), e.Kind, e.Of, e.Seconds, e.Detail))
}

// Load is the steady load of a probe that runs: it reads what that tells.
type Load struct {
	program *Program
	stdin   io.Closer
	streams int

	mu     sync.Mutex
	events []Event

	stop    chan struct{}
	reading sync.WaitGroup
}

func Follow(program *Program, stdin io.Closer, streams int) *Load {
	m := &Load{program: program, stdin: stdin, streams: streams, stop: make(chan struct{})}
	m.reading.Go(m.read)
	return m
}

// Close ends the load: with its input.
func (m *Load) Close() {
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
func (m *Load) read() {
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
			var e Event
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

// Since are the events after a moment.
func (m *Load) Since(from time.Time) []Event {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, _ := slices.BinarySearchFunc(m.events, from.UnixNano(), func(e Event, at int64) int {
		if e.At < at {
			return -1
		}
		return 1
	})
	return slices.Clone(m.events[at:])
}

// First finds the first event after a moment that matches.
func (m *Load) First(from time.Time, match func(Event) bool) (Event, bool) {
	events := m.Since(from)
	if at := slices.IndexFunc(events, match); at >= 0 {
		return events[at], true
	}
	return Event{}, false
}

// Control is the event from which on the control connection has been as it is.
func (m *Load) Control() Event {
	m.mu.Lock()
	defer m.mu.Unlock()
	var found Event
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
// from; or what is not well now. The canary has to be well by now; since when,
// its Class tells.
func (m *Load) wellSince(from time.Time) (time.Time, error) {
	control := m.Control()
	if !control.Connected {
		return from, fmt.Errorf("control plane not connected: %v", control)
	}
	at := from
	later := func(e Event) {
		if e.Time().After(at) {
			at = e.Time()
		}
	}
	later(control)
	ticks := 0
	var last, canary Event
	for _, e := range m.Since(from) {
		switch e.Kind {
		case "tick":
			ticks, last = ticks+1, e
			if e.Open < m.streams || e.Silence >= 1000 || len(e.Micros) == 0 {
				ticks = 0
				later(e)
			}
		case "slow", "failed", "wrong", "stall", "broken", "open", "trouble", "frozen":
			later(e)
		case "canary-slow", "canary-failed", "canary-wrong":
			canary = e
		}
	}
	switch {
	case time.Since(last.Time()) > time.Second:
		return at, fmt.Errorf("the load is silent: %s", ending(m.program.Log()))
	case ticks < quietTicks:
		return at, fmt.Errorf("%d of %d flows open, longest silence %d ms, %d lookups in the last quarter of a second", last.Open, m.streams, last.Silence, len(last.Micros))
	case last.CanaryGap >= 1000:
		return at, fmt.Errorf("the canary has had no answer for %d ms", last.CanaryGap)
	case canary.At != 0 && time.Since(canary.Time()) < time.Second:
		return at, fmt.Errorf("the canary is not well: %v", canary)
	}
	return at, nil
}

func ending(text string) string { return text[max(0, len(text)-500):] }

// Healthy waits until all has been well from some moment on until now, and
// settle has passed since from: what breaks is noticed only some time later.
// It returns that moment.
func (m *Load) Healthy(ctx context.Context, from time.Time, settle time.Duration) (time.Time, error) {
	var at time.Time
	err := Eventually(ctx, func() error {
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

// Cost is what became of the load between two moments.
type Cost struct {
	Right, Slow, Failed, Wrong, Refused int
	P99                                 time.Duration
	Broken                              int
	Stall                               time.Duration // the longest
	StallOf                             string
	// The longest times without a right answer: of our names, and of public
	// ones, which lack nothing that is ours.
	Gap, PublicGap time.Duration
	PublicFailed   int
	// Canary is the sentinel's: it is in no hosts file.
	Canary Class
	Frozen time.Duration
	Told   []string // everything that is not as it should be
}

// Class is what became of names that are looked up beside the user's.
type Class struct {
	Failed, Wrong int
	Gap           time.Duration
	Last          time.Time // of the last answer that was not as it should be
}

func (c Cost) String() string {
	return fmt.Sprintf("%d lookups, %d failed, %d wrong, %d slow, p99 %s; flows broken %d, longest silence %.2f s",
		c.Right+c.Failed+c.Wrong, c.Failed, c.Wrong, c.Slow, Milliseconds(c.P99), c.Broken, c.Stall.Seconds())
}

func Milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
}

// Cost adds up what the load told from a moment on.
func (m *Load) Cost(from time.Time) Cost {
	var c Cost
	var micros []int64
	for _, e := range m.Since(from) {
		seconds := time.Duration(e.Seconds * float64(time.Second))
		switch e.Kind {
		case "tick":
			micros = append(micros, e.Micros...)
			c.Refused += e.Refused
			c.Gap = max(c.Gap, time.Duration(e.Gap)*time.Millisecond)
			c.PublicGap = max(c.PublicGap, time.Duration(e.PublicGap)*time.Millisecond)
			c.Canary.Gap = max(c.Canary.Gap, time.Duration(e.CanaryGap)*time.Millisecond)
			if silence := time.Duration(e.Silence) * time.Millisecond; silence > c.Stall {
				c.Stall = silence
			}
			continue
		case "slow":
			c.Slow++
		case "failed":
			c.Failed++
		case "wrong":
			c.Wrong++
		case "public-failed", "public-wrong":
			c.PublicFailed++
		case "canary-failed":
			c.Canary.Failed, c.Canary.Last = c.Canary.Failed+1, e.Time()
		case "canary-wrong":
			c.Canary.Wrong, c.Canary.Last = c.Canary.Wrong+1, e.Time()
		case "canary-slow":
			c.Canary.Last = e.Time()
		case "broken":
			c.Broken++
		case "stall":
			if seconds > c.Stall {
				c.Stall, c.StallOf = seconds, e.Of
			}
		case "frozen":
			c.Frozen += seconds
		}
		c.Told = append(c.Told, e.String())
	}
	c.Right = len(micros)
	slices.Sort(micros)
	if len(micros) > 0 {
		c.P99 = time.Duration(micros[len(micros)*99/100]) * time.Microsecond
	}
	return c
}
