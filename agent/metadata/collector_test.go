package metadata

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"storj.io/drpc/drpcerr"

	"github.com/causewayhq/causeway/proto/agentv2"
)

// scripts stands for the scripts of a workspace: each takes the time that its
// text says, and gives the number of its run.
type scripts struct {
	mu      sync.Mutex
	began   time.Time
	runs    map[string][]time.Duration // when each run began
	limits  map[string]time.Duration
	running map[string]int
	most    int // of one script, at once
}

func newScripts() *scripts {
	return &scripts{began: time.Now(), runs: map[string][]time.Duration{}, limits: map[string]time.Duration{}, running: map[string]int{}}
}

func (s *scripts) run(ctx context.Context, script string, limit time.Duration) outcome {
	s.mu.Lock()
	s.runs[script] = append(s.runs[script], time.Since(s.began))
	s.limits[script] = limit
	number := len(s.runs[script])
	s.running[script]++
	s.most = max(s.most, s.running[script])
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.running[script]--
		s.mu.Unlock()
	}()
	takes, err := time.ParseDuration(script)
	if err != nil {
		takes = 0
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	select {
	case <-time.After(takes):
		return outcome{value: strconv.Itoa(number)}
	case <-ctx.Done():
		return outcome{failure: "timed out"}
	}
}

func description(key, script string, interval, timeout time.Duration) *agentv2.WorkspaceAgentMetadata_Description {
	return &agentv2.WorkspaceAgentMetadata_Description{
		Key: key, Script: script, Interval: durationpb.New(interval), Timeout: durationpb.New(timeout),
	}
}

// collector is one that works and tells until the test ends.
type collector struct {
	*Collector
	t       *testing.T
	scripts *scripts
	log     bytes.Buffer

	lock   sync.Mutex
	wanted []*agentv2.WorkspaceAgentMetadata_Description
}

func (c *collector) want(descriptions ...*agentv2.WorkspaceAgentMetadata_Description) {
	c.lock.Lock()
	defer c.lock.Unlock()
	c.wanted = descriptions
}

func newCollector(t *testing.T, wanted ...*agentv2.WorkspaceAgentMetadata_Description) *collector {
	c := &collector{t: t, scripts: newScripts(), wanted: wanted}
	c.Collector = New(Config{
		Logger: slog.New(slog.NewTextHandler(&c.log, nil)),
		Wanted: func() []*agentv2.WorkspaceAgentMetadata_Description {
			c.lock.Lock()
			defer c.lock.Unlock()
			return c.wanted
		},
	})
	c.run = c.scripts.run
	return c
}

// collect lets it work for a while.
func (c *collector) collect(client Client, while time.Duration) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), while)
	defer cancel()
	var group sync.WaitGroup
	group.Go(func() { c.Collect(ctx) })
	if client != nil {
		group.Go(func() {
			time.Sleep(tick / 4) // after the runs of the same second
			if err := c.Run(ctx, client); err != nil {
				c.t.Error(err)
			}
		})
	}
	group.Wait()
}

func seconds(numbers ...int) []time.Duration {
	var result []time.Duration
	for _, n := range numbers {
		result = append(result, time.Duration(n)*time.Second)
	}
	return result
}

func TestIntervals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCollector(
			t,
			description("each second", "a", time.Second, 0),
			description("each third second", "b", 3*time.Second, 0),
			description("between ticks", "c", 2500*time.Millisecond, 0),
			description("once", "d", 0, 0),
			description("negative", "e", -time.Second, -time.Second),
		)
		p := &plane{}
		c.collect(p, 7500*time.Millisecond)
		want := map[string][]time.Duration{
			"a": seconds(0, 1, 2, 3, 4, 5, 6, 7), "b": seconds(0, 3, 6), "c": seconds(0, 2, 4, 6), "d": seconds(0), "e": seconds(0),
		}
		if !maps.EqualFunc(c.scripts.runs, want, slices.Equal) {
			t.Errorf("ran %v, want %v", c.scripts.runs, want)
		}
		if got := p.values("each third second"); !slices.Equal(got, []string{"1", "2", "3"}) {
			t.Errorf("told %q", got)
		}
		if got := p.values("once"); !slices.Equal(got, []string{"1"}) {
			t.Errorf("told %q", got)
		}
	})
}

func TestLimitOfARun(t *testing.T) {
	tests := []struct {
		name                    string
		interval, timeout, want time.Duration
	}{
		{"given", 10 * time.Second, 3 * time.Second, 3 * time.Second},
		{"that of the interval", 10 * time.Second, 0, 10 * time.Second},
		{"default", 0, 0, 5 * time.Second},
		{"given for one that runs once", 0, time.Minute, time.Minute},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCollector(t, description("key", "a", test.interval, test.timeout))
				c.collect(nil, time.Second)
				if got := c.scripts.limits["a"]; got != test.want {
					t.Errorf("limit %s, want %s", got, test.want)
				}
			})
		})
	}
}

// TestNoOverlap has one script that takes longer than its interval, and others
// that must not wait for it.
func TestNoOverlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCollector(t, description("slow", "3500ms", time.Second, time.Minute), description("quick", "a", time.Second, 0))
		c.collect(nil, 9500*time.Millisecond)
		if c.scripts.most != 1 {
			t.Errorf("%d runs of a key at once", c.scripts.most)
		}
		if got := c.scripts.runs["3500ms"]; !slices.Equal(got, seconds(0, 4, 8)) {
			t.Errorf("the slow one ran at %v", got)
		}
		if got := len(c.scripts.runs["a"]); got != 10 {
			t.Errorf("the quick one ran %d times", got)
		}
	})
}

func TestManyKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var wanted []*agentv2.WorkspaceAgentMetadata_Description
		for i := range maxKeys + 5 {
			wanted = append(wanted, description(fmt.Sprintf("key %03d", i), fmt.Sprintf("%dms", 1+i), time.Second, 0))
		}
		wanted = append(wanted, wanted[0])
		c, p := newCollector(t, wanted...), &plane{}
		c.collect(p, 10500*time.Millisecond)
		keys := p.keys()
		if len(keys) != maxKeys || keys[maxKeys-1] != "key 127" {
			t.Errorf("%d keys, the last is %q", len(keys), keys[len(keys)-1])
		}
		if slices.Max(p.batches) != maxKeys || len(p.batches) > 11 {
			t.Errorf("batches of %v", p.batches)
		}
		for _, key := range keys {
			if got := len(p.values(key)); got != 11 {
				t.Errorf("%s was told %d times", key, got)
			}
		}
		if got := c.log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "refused=5") {
			t.Errorf("logged %q", got)
		}
	})
}

// TestNewerThanToldStays: a result that came while an older one was under way.
func TestNewerThanToldStays(t *testing.T) {
	c := newCollector(t)
	c.untold["a"], c.untold["b"] = &result{}, &result{}
	under := c.news()
	newer := &result{}
	c.untold["a"] = newer
	c.told(under)
	if len(c.untold) != 1 || c.untold["a"] != newer {
		t.Errorf("%d are untold", len(c.untold))
	}
}

func TestAnotherManifest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := newCollector(t, description("once", "a", 0, 0), description("goes", "b", time.Second, 0),
			description("changes", "5s", 0, time.Minute)), &plane{}
		go func() {
			time.Sleep(2500 * time.Millisecond)
			c.want(description("once", "a", 0, 0), description("changes", "c", 0, 0))
		}()
		c.collect(p, 10*time.Second)
		want := map[string][]time.Duration{"a": seconds(0), "b": seconds(0, 1, 2), "5s": seconds(0), "c": seconds(6)}
		// The end of the run at 5 s and the tick then come in any order.
		if got := c.scripts.runs["c"]; slices.Equal(got, seconds(5)) {
			want["c"] = got
		}
		if !maps.EqualFunc(c.scripts.runs, want, slices.Equal) {
			t.Errorf("ran %v, want %v", c.scripts.runs, want)
		}
		if got := p.values("changes"); !slices.Equal(got, []string{"1"}) {
			t.Errorf("told %q", got)
		}
		if len(c.items) != 2 || len(c.untold) != 0 {
			t.Errorf("%d items are left, %d results", len(c.items), len(c.untold))
		}
	})
}

func TestFaultsOfTheControlPlane(t *testing.T) {
	each := []*agentv2.WorkspaceAgentMetadata_Description{description("each", "a", time.Second, 0)}
	last := func(t *testing.T, p *plane, want string) {
		t.Helper()
		values := p.values("each")
		if len(values) == 0 || values[len(values)-1] != want {
			t.Errorf("told %q, want %s at last", values, want)
		}
	}
	t.Run("blocks for a minute", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, p := newCollector(t, each...), &plane{block: true}
			time.AfterFunc(time.Minute, func() {
				p.mu.Lock()
				defer p.mu.Unlock()
				p.block = false
			})
			c.collect(p, 80500*time.Millisecond)
			if got := len(c.scripts.runs["a"]); got != 81 {
				t.Errorf("collected %d times", got)
			}
			// 30 s, 5 s, 30 s, 5 s: at 70 s it is taken, with the latest of each key.
			if p.most != 1 || len(p.values("each")) > 12 {
				t.Errorf("%d reports at once, told %q", p.most, p.values("each"))
			}
			last(t, p, "81")
		})
	})
	t.Run("fails", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, p := newCollector(t, each...), &plane{failures: []error{errors.New("database is away"), errors.New("still")}}
			c.collect(p, 20500*time.Millisecond)
			last(t, p, "21")
			if len(p.values("each")) > 12 {
				t.Errorf("told %q, want the latest only", p.values("each"))
			}
		})
	})
	t.Run("is cut and comes back", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, before, after := newCollector(t, description("each", "a", 0, 0)), &plane{block: true}, &plane{}
			cut, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			go c.Run(cut, before)
			time.AfterFunc(time.Minute, func() {
				if err := c.Run(t.Context(), after); err != nil {
					t.Error(err)
				}
			})
			c.collect(nil, 62*time.Second)
			last(t, after, "1")
			if got := after.told[0].GetResult(); got.GetAge() != 60 || !got.GetCollectedAt().AsTime().Equal(c.scripts.began) {
				t.Errorf("told %v", got)
			}
		})
	})
	t.Run("takes none", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newCollector(t, each...)
			p := &plane{failures: []error{drpcerr.WithCode(errors.New("no"), drpcerr.Unimplemented)}}
			c.collect(p, 20*time.Second)
			if p.calls != 1 || len(c.untold) != 1 {
				t.Errorf("%d calls, %d results kept", p.calls, len(c.untold))
			}
		})
	})
}
